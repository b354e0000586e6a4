from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.train.checkpoint import State, load_state, save_state


def test_a_state_is_loaded_for_its_own_purpose_only(tmp_path: Path) -> None:
    state = State("this", 1, 2, {0: 0.1, 1: [0.1, 0.2]}, {0: None}, [[1, "stage_1", 0.5, None]])
    state.model = {"a": torch.arange(3.0)}
    state.optimiser = {0: {"step": torch.tensor(4.0)}}
    save_state(tmp_path / "state.pt", state)
    back = load_state(tmp_path / "state.pt", "this")
    assert (back.stage, back.epoch, back.rates) == (1, 2, {0: 0.1, 1: [0.1, 0.2]})
    assert back.history == state.history and torch.equal(back.model["a"], torch.arange(3.0))
    assert back.optimiser[0]["step"] == 4
    assert load_state(tmp_path / "state.pt", "other") == State("other")


@pytest.mark.parametrize("damage", [b"", b"half a file", None])
def test_a_missing_or_damaged_state_is_a_fresh_start(tmp_path: Path, damage: bytes | None) -> None:
    path = tmp_path / "state.pt"
    if damage is None:
        save_state(path, State("this", 1))
        damage = path.read_bytes()[:-100]
    path.write_bytes(damage)
    assert load_state(path, "this") == State("this")
    assert load_state(tmp_path / "nowhere.pt", "this") == State("this")
