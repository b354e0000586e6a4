from __future__ import annotations

from typing import Any

import pytest
import torch

from pipeline.core.params import Train
from pipeline.train.loop import is_out_of_memory, plans

BASE: dict[str, Any] = {"size": 32, "batch_size": 4, "frozen_epochs": 4, "unfrozen_epochs": 3}


def params(**changes: Any) -> Train:
    return Train.model_validate(BASE | changes)


def test_with_pretrained_weights_the_head_is_trained_first_and_then_all_layers() -> None:
    first, second = plans(params(frozen_lr=0.002, unfrozen_lr=[1e-5, 1e-4]), is_pretrained=True)
    assert (first.layers, first.epochs, first.rate) == ("head", 4, 0.002)
    assert (second.layers, second.epochs, second.rate) == ("all", 3, [1e-5, 1e-4])


def test_without_pretrained_weights_all_layers_have_one_rate_in_both_stages() -> None:
    first, second = plans(params(scratch_lr=0.004), is_pretrained=False)
    assert first.layers == second.layers == "all"
    assert first.rate == second.rate == 0.004


@pytest.mark.parametrize(("frozen", "unfrozen", "kept"), [(0, 2, "stage_2"), (2, 0, "stage_1")])
def test_a_stage_of_no_epochs_is_left_out(frozen: int, unfrozen: int, kept: str) -> None:
    stages = plans(params(frozen_epochs=frozen, unfrozen_epochs=unfrozen), is_pretrained=True)
    assert [plan.name for plan in stages] == [kept]


def test_out_of_memory_is_recognised_among_other_errors() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60, dtype=torch.uint8)
    assert is_out_of_memory(error.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("expected 3 channels"))
