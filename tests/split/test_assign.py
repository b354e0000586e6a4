"""The draw depends on the identity of groups; every class gets a group in every part."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from pipeline.core.errors import PipelineError
from pipeline.split.assign import chance
from pipeline.split.partition import partition
from pipeline.split.stage import report_of
from tests.splits import by_id, deduped, params
from tests.tables import sample


def test_the_draw_depends_on_the_seed_alone() -> None:
    world = deduped([sample(number) for number in range(100)])
    assert partition(world, params(seed=1), {}).part != partition(world, params(seed=2), {}).part
    assert partition(world, params(seed=1), {}).part == partition(world, params(seed=1), {}).part
    assert 0 <= chance(1, "x") < 1 and chance(1, "x") != chance(2, "x")


def test_shares_are_met_in_expectation_or_exactly() -> None:
    rows = [sample(number, "ab"[number % 2], group=f"w{number // 3}") for number in range(3000)]
    world = deduped(rows)
    for stratify, most in (("expected", 0.05), ("exact", 0.004)):
        parts = partition(world, params(stratify=stratify, valid=0.1, test=0.3), {})
        report = report_of(world, parts, params())
        for part, share in (("train", 0.6), ("valid", 0.1), ("test", 0.3)):
            assert abs(report["parts"][part]["share"] - share) < most
            assert report["parts"][part]["largest_imbalance"] < most
        assert sum(report["parts"][part]["samples"] for part in report["parts"]) == 3000
        assert set(parts.part) == {"train", "valid", "test"}


def test_exact_shares_are_met_again_as_a_dataset_grows_and_moved_samples_are_counted() -> None:
    rows = [sample(number, group=f"w{number // 3}") for number in range(300)]
    new = [sample(f"new{number}", group=f"v{number}") for number in range(300)]
    later = {row["content_id"] for row in new}
    before, after = deduped(rows), deduped(rows + new, later=later)
    for stratify, most in (("expected", 0.1), ("exact", 0.01)):
        wanted = params(stratify=stratify)
        parts = partition(after, wanted, {})
        was, now = by_id(before, partition(before, wanted, {})), by_id(after, parts)
        assert parts.moved == sum(now[name] != part for name, part in was.items())
        assert (parts.moved > 0) == (stratify == "exact")
        assert abs(parts.part.count("test") / 600 - 0.2) < most


def test_every_class_gets_a_group_in_every_part_if_it_has_three() -> None:
    rows = [sample(f"{name}{number}", name) for name in "abcdefgh" for number in range(3)]
    parts = partition(deduped(rows), params(valid=0.05, test=0.05), {})
    found = Counter(zip(parts.label, parts.part, strict=True))
    assert set(found.values()) == {1}
    assert parts.filled > 0


def test_a_class_with_too_few_groups_is_an_error() -> None:
    rows = [sample(number) for number in range(20)] + [sample("x", "rare"), sample("y", "rare")]
    with pytest.raises(PipelineError, match=r"class rare has 2 groups.*needs 3, one each for"):
        partition(deduped(rows), params(), {})
    assert "rare" in partition(deduped(rows), params(test=0), {}).label
    one_page = [row | {"page_url": "p"} if row["label"] == "rare" else row for row in rows]
    with pytest.raises(PipelineError, match="class rare has 1 groups"):
        partition(deduped(one_page), params(test=0, group_column="page_url"), {})


def test_classes_that_share_too_few_groups_are_an_error() -> None:
    rows = [sample(f"{n}{name}", name, group=f"w{n}") for n in range(3) for name in "ab"]
    assert set(partition(deduped(rows), params(), {}).part) == {"train", "valid", "test"}
    chain = [("1", "a", "w1"), ("2", "a", "w2"), ("3", "b", "w1"), ("4", "b", "w2")]
    two = [sample(name, label, group=writer) for name, label, writer in chain]
    more = [sample("5", "a"), sample("6", "b", group="w1"), sample("7", "b", group="w2")]
    with pytest.raises(PipelineError, match="class b has 2 groups"):
        partition(deduped(two + more), params(), {})


def test_folds_are_whole_groups_stratified_and_outside_test() -> None:
    rows = [sample(number, "ab"[number % 2], group=f"w{number // 4}") for number in range(400)]
    world = deduped(rows)
    parts = partition(world, params(folds=5), {})
    assert parts.fold is not None
    of_group: dict[str, set[int]] = defaultdict(set)
    of_class: Counter[tuple[str, int]] = Counter()
    for row, part, fold in zip(rows, parts.part, parts.fold, strict=True):
        assert (fold == -1) == (part == "test")
        if fold >= 0:
            of_group[row["group"]].add(fold)
            of_class[row["label"], fold] += 1
    assert all(len(found) == 1 for found in of_group.values())
    assert len(of_class) == 10
    assert max(of_class.values()) - min(of_class.values()) <= 8
    order = np.random.default_rng(0).permutation(400)
    again = partition(deduped([rows[n] for n in order]), params(folds=5), {})
    assert again.fold == [parts.fold[n] for n in order]
    with pytest.raises(PipelineError, match="class a has 3 groups and needs 5, one for each fold"):
        partition(deduped([sample(n) for n in range(3)]), params(folds=5, valid=0.2, test=0), {})
