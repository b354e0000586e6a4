from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.core.errors import PipelineError
from pipeline.core.params import Augment
from pipeline.train.loaders import Batches, memory_limit, resident, seed_of
from tests.training import batches

CPU = torch.device("cpu")


def values(loader: Batches) -> list[int]:
    return [round(float(value)) for x, _ in loader for value in x[:, 0, 4, 4] * 255]


def test_validation_images_come_whole_and_in_order() -> None:
    loader = batches(11)
    assert len(loader) == 3 and values(loader) == list(range(11))
    assert [len(y) for _, y in loader] == [4, 4, 3]
    assert len(batches(0)) == 0 and values(batches(0)) == []


def test_training_images_are_shuffled_by_the_seed_of_the_epoch_only() -> None:
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


def test_images_keep_their_targets() -> None:
    for loader in (batches(11), batches(11, augmenting=Augment())):
        for x, y in loader:
            assert torch.equal((x[:, 0, 4, 4] * 255).round().long() % 2, y)


def test_fewer_images_than_a_batch_are_one_batch() -> None:
    assert [len(y) for _, y in batches(3, augmenting=Augment())] == [3]


def test_seeds_differ_by_every_part_of_their_identity() -> None:
    seeds = {seed_of(*what) for what in [(8, 0, 1), (8, 1, 0), (9, 0, 1), (8, 0, "1"), (80, 1)]}
    assert len(seeds) == 5 and all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize(("whole", "halves"), [(16, [8, 4, 2]), (15, [5]), (12, [6, 3]), (7, [])])
def test_halved_batches_give_the_same_images_in_the_same_order(
    whole: int, halves: list[int]
) -> None:
    loader = batches(whole * 3 + 1, whole, Augment())
    loader.epoch_seed = 5
    seen = values(loader)
    found = []
    while loader.halve():
        found.append(loader.bs)
        assert values(loader) == seen and len(loader) * loader.bs == len(seen)
    assert found == halves


@pytest.mark.parametrize(("batch_size", "ranks", "step"), [(6, 3, 6), (8, 2, 8), (7, 3, 6)])
def test_processes_share_every_batch_of_the_same_order(
    batch_size: int, ranks: int, step: int
) -> None:
    shares = [batches(20, batch_size, Augment(), rank, ranks) for rank in range(ranks)]
    assert {share.whole for share in shares} == {step}
    steps = [[(y, x) for x, y in share] for share in shares]
    assert {len(each) for each in steps} == {20 // step} == {len(share) for share in shares}
    together = [
        round(float(value) * 255)
        for parts in zip(*steps, strict=True)
        for _, x in parts
        for value in x[:, 0, 4, 4]
    ]
    assert together == values(batches(20, step, Augment()))
    validated = [values(batches(20, batch_size, None, rank, ranks)) for rank in range(ranks)]
    assert [value for each in validated for value in each] == list(range(20))


def test_a_share_of_one_image_is_an_error() -> None:
    with pytest.raises(PipelineError, match="a batch of 5 images is too small for 3 processes"):
        batches(5, 8, Augment(), 0, 3)
    assert values(batches(1, 8, None, 0, 2)) + values(batches(1, 8, None, 1, 2)) == [0]


def test_images_that_do_not_fit_into_memory_stay_in_their_file(tmp_path: Path) -> None:
    # sparse: the file takes no room, and neither does what is never read
    count = memory_limit() // 2**20
    shape = (count, 1, 1024, 1024)
    np.lib.format.open_memmap(tmp_path / "huge.npy", "w+", np.uint8, shape)[-1] = 7
    pixels, place = resident(np.load(tmp_path / "huge.npy", mmap_mode="r"), CPU)
    assert place.startswith("memory-mapped from the cache (at least half of ")
    assert pixels[torch.tensor([count - 1, 0]), 0, 0, 0].tolist() == [7, 0]
    _, place = resident(np.zeros((3, 1, 8, 8), np.uint8), CPU, 2)
    assert place.startswith("in memory (less than half of ") and place.endswith("2 processes)")


def test_the_memory_limit_is_the_containers_if_it_is_lower(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    whole = memory_limit(limit)
    for text, counts in [("1000000\n", 10**6), ("max\n", whole), (str(2**62), whole)]:
        limit.write_text(text)
        assert memory_limit(limit) == counts
