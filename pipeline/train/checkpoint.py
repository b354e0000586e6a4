"""How far a training has come, on disk: a killed one goes on to the same end."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from pipeline.core.files import replacing


@dataclass
class State:
    """All that a training needs to go on; `purpose` says of what it is the state."""

    purpose: str  # hash of parameters, samples and versions: another training never goes on here
    stage: int = 0
    epoch: int = 0  # done in this stage
    rates: dict[int, Any] = field(default_factory=dict)  # of each stage begun
    suggested: dict[int, float | None] = field(default_factory=dict)  # by the finder
    history: list[list[Any]] = field(default_factory=list)
    finder: list[list[Any]] = field(default_factory=list)
    model: dict[str, Any] = field(default_factory=dict)
    average: dict[str, Any] = field(default_factory=dict)  # of the weights, where one is kept
    optimiser: dict[int, dict[str, Any]] = field(default_factory=dict)


def save_state(path: Path, state: State) -> None:
    """Write a state, atomically."""
    with replacing(path) as temporary:
        torch.save(asdict(state), temporary)


def load_state(path: Path, purpose: str) -> State:
    """Read the state that was left for this purpose, else return a fresh one."""
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
        state = State(**values)
    except Exception:  # a damaged file raises what it likes, and costs no more than a fresh start
        return State(purpose)
    return state if state.purpose == purpose else State(purpose)
