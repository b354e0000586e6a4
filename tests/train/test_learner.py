from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from fastai.callback.training import GradientAccumulation
from torch import nn

from pipeline.core.params import Augment, Train
from pipeline.model.device import Compute
from pipeline.model.network import body_and_head, build
from pipeline.train.learner import freeze_body, group_rates, layer_groups, make_learner
from tests.training import batches

CPU = torch.device("cpu")
PARAMS = Train(size=16, batch_size=4, frozen_epochs=1, unfrozen_epochs=1, weight_decay=0.1)


def test_each_weight_is_in_one_group_and_norms_and_biases_do_not_decay() -> None:
    network = build(3)
    groups = layer_groups(network, split_at=6)
    assert len(groups) == 6
    flat = [id(weight) for group in groups for weight in group]
    assert sorted(flat) == sorted(id(weight) for weight in network.parameters())
    plain = {id(weight) for group in groups[1::2] for weight in group}
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert plain == {id(weight) for norm in norms for weight in norm.parameters()}
    _, head = body_and_head(network)
    assert {id(w) for w in groups[4] + groups[5]} == {id(w) for w in head.parameters()}


def test_learning_rates_rise_geometrically_from_stem_to_head() -> None:
    assert group_rates(0.01) == [0.01] * 6
    rates = group_rates([1e-5, 1e-3])
    assert rates == pytest.approx([1e-5, 1e-5, 1e-4, 1e-4, 1e-3, 1e-3])


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_the_learner_is_fastais_and_freezes_all_but_head_and_norms(
    tmp_path: Path, dtype: torch.dtype | None
) -> None:
    network = build(2, channels=1)
    loaders = [batches(12, augmenting=Augment()), batches(6)]
    compute = Compute(CPU, dtype, channels_last=True)
    learner = make_learner(loaders, network, PARAMS, compute, tmp_path)
    assert [hyper["wd"] for hyper in learner.opt.hypers] == [0.1, 0.0] * 3
    freeze_body(learner)
    body, head = body_and_head(network)
    assert all(weight.requires_grad for weight in head.parameters())
    learning = [weight for weight in body.parameters() if weight.requires_grad]
    assert learning and all(weight.dim() == 1 for weight in learning)  # the norms
    before = {name: value.clone() for name, value in network.state_dict().items()}
    learner.fit(1, group_rates(0.01))
    after = network.state_dict()
    assert torch.equal(before["0.0.weight"], after["0.0.weight"])
    assert not torch.equal(before["1.8.weight"], after["1.8.weight"])
    assert all(value.dtype in (torch.float32, torch.int64) for value in after.values())
    learner.unfreeze()
    assert all(weight.requires_grad for weight in network.parameters())


def _evaluating(network: nn.Module, mode: bool = True) -> nn.Module:
    return nn.Module.train(network, False)


def test_gradients_of_parts_of_a_batch_add_up_to_those_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for is_halved in (False, True):
        torch.manual_seed(0)
        network = build(2, channels=1)
        # norms and dropout, which see a part at a time, do nothing in evaluation mode
        monkeypatch.setattr(network, "train", partial(_evaluating, network))
        train = batches(16, 8, Augment())
        if is_halved:
            assert train.halve()
        params = PARAMS.model_copy(update={"dropout": 0.0})
        compute = Compute(CPU, None, channels_last=False)
        learner = make_learner([train, batches(0)], network, params, compute, tmp_path)
        learner.fit(1, 1e-3, cbs=[GradientAccumulation(8)] if is_halved else [])
        found.append(network.state_dict()["0.0.weight"].clone())
    whole, parts = found
    assert torch.allclose(whole, parts, atol=1e-6)


def test_training_on_one_device_needs_no_accelerate() -> None:
    code = "import sys; sys.modules['accelerate'] = None\nimport pipeline.train.stage"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
