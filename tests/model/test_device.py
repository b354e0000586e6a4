from __future__ import annotations

import pytest
import torch

from pipeline.core.errors import PipelineError
from pipeline.core.params import Train
from pipeline.model.device import choose, has_fast_bf16, pick_device
from pipeline.model.small_convs import SmallConvs

BASE = {"size": 32, "batch_size": 4, "frozen_epochs": 1, "unfrozen_epochs": 1}


def test_auto_is_the_fastest_available_device_and_a_missing_one_is_an_error() -> None:
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    best = next((name for name, is_there in there.items() if is_there), "cpu")
    assert pick_device().type == best
    assert pick_device("cpu").type == "cpu"
    for name in (name for name, is_there in there.items() if not is_there):
        with pytest.raises(
            PipelineError, match=f"device {name} is not available; torch found: cpu"
        ):
            pick_device(name)


def test_params_decide_how_to_compute_and_auto_chooses() -> None:
    cpu = BASE | {"device": "cpu"}
    plain = choose(Train.model_validate(cpu | {"precision": "fp32", "channels_last": "off"}))
    assert plain.dtype is None and not plain.channels_last
    on = f"cpu ({torch.get_num_threads()} threads)"
    assert str(plain) == f"{on}, fp32, channels-first, fused optimizer, not compiled"
    assert [type(context()) for context in choose(Train.model_validate(cpu)).contexts()][-1] is (
        SmallConvs
    )
    off = choose(Train.model_validate(cpu | {"precision": "fp32", "small_maps": "off"}))
    assert off.contexts() == [] and "small convolutions" not in str(off)
    low = choose(Train.model_validate(cpu | {"precision": "bf16"}))
    assert low.dtype == torch.bfloat16 and "bf16, channels-last" in str(low)
    auto = choose(Train.model_validate(cpu))
    assert (auto.dtype == torch.bfloat16) == has_fast_bf16(torch.device("cpu"))
    assert auto.channels_last and auto.is_fused and "fast small convolutions" in str(auto)
    assert not (auto.is_compiled or auto.tries_kernels or torch.backends.cudnn.benchmark)
    # as YAML reads a bare on and off
    turned = choose(Train.model_validate(cpu | {"compile": True, "fused": False}))
    assert "plain optimizer, compiled" in str(turned)
    tried = choose(Train.model_validate(cpu | {"cudnn_benchmark": "on"}))
    assert not tried.tries_kernels  # a CPU has no cuDNN
