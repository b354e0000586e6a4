"""The audit counts held-out samples with a counterpart in the training set."""

from __future__ import annotations

from pipeline.split.partition import partition
from pipeline.split.stage import report_of
from tests.splits import deduped, official, params


def test_a_random_split_leaks_writers() -> None:
    world = deduped(official())
    wanted = params(method="random")
    parts = partition(world, wanted, {})
    assert report_of(world, parts, wanted)["leak"]["after"]["valid"]["same_group"] > 0.5
