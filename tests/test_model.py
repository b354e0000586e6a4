from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.compute import Compute
from pipeline.model import (
    Batches,
    freeze_body,
    group_rates,
    layer_groups,
    make_learner,
    seed_of,
)
from pipeline.network import Card, ClassName, body_and_head, build
from pipeline.params import Augment, Train
from pipeline.pictures import Pictures, View

CPU = torch.device("cpu")
CARD = Card((ClassName("a", "A"), ClassName("b", "B")), View(8, 1, "pad"), (0.0,), (1.0,))
PARAMS = Train(size=16, batch_size=4, frozen_epochs=1, unfrozen_epochs=1, weight_decay=0.1)


def batches(count: int, batch_size: int = 4, augmenting: Augment | None = None) -> Batches:
    pixels = np.arange(count, dtype=np.uint8)[:, None, None, None] + np.zeros(
        (1, 1, 8, 8), np.uint8
    )
    stored = Pictures(pixels, np.ones(count, np.float32))
    targets = np.arange(count, dtype=np.int64) % 2
    return Batches(stored, targets, CARD, CPU, batch_size=batch_size, augmenting=augmenting)


def values(loader: Batches) -> list[int]:
    return [round(float(value)) for x, _ in loader for value in x[:, 0, 4, 4] * 255]


def test_what_is_watched_comes_whole_and_in_order() -> None:
    loader = batches(11)
    assert len(loader) == 3 and values(loader) == list(range(11))
    assert [len(y) for _, y in loader] == [4, 4, 3]
    assert len(batches(0)) == 0 and values(batches(0)) == []


def test_what_is_trained_on_is_shuffled_by_the_epochs_seed_alone() -> None:
    loader = batches(11, augmenting=Augment())
    loader.epoch_seed = seed_of(8, 0, 1)
    torch.manual_seed(1)
    first = values(loader)
    torch.manual_seed(2)
    assert values(loader) == first
    assert len(first) == len(set(first)) == 8  # whole batches: three wait for another epoch
    assert first != sorted(first)
    loader.epoch_seed = seed_of(8, 0, 2)
    assert values(loader) != first
    seen: set[int] = set()
    for epoch in range(20):
        loader.epoch_seed = seed_of(8, 0, epoch)
        seen |= set(values(loader))
    assert seen == set(range(11))


def test_pictures_keep_their_targets() -> None:
    for loader in (batches(11), batches(11, augmenting=Augment())):
        for x, y in loader:
            assert torch.equal((x[:, 0, 4, 4] * 255).round().long() % 2, y)


def test_fewer_pictures_than_a_batch_are_one_batch() -> None:
    assert [len(y) for _, y in batches(3, augmenting=Augment())] == [3]


def test_seeds_differ_by_all_that_they_are_for() -> None:
    seeds = {seed_of(*what) for what in [(8, 0, 1), (8, 1, 0), (9, 0, 1), (8, 0, "1"), (80, 1)]}
    assert len(seeds) == 5 and all(0 <= seed < 2**63 for seed in seeds)


def test_every_weight_is_in_one_group_and_norms_and_biases_do_not_decay() -> None:
    network = build(3)
    groups = layer_groups(network)
    assert len(groups) == 6
    flat = [id(weight) for group in groups for weight in group]
    assert sorted(flat) == sorted(id(weight) for weight in network.parameters())
    plain = {id(weight) for group in groups[1::2] for weight in group}
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert plain == {id(weight) for norm in norms for weight in norm.parameters()}
    _, head = body_and_head(network)
    assert {id(w) for w in groups[4] + groups[5]} == {id(w) for w in head.parameters()}


def test_rates_step_evenly_from_the_first_layers_to_the_last() -> None:
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
