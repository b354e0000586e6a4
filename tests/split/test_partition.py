"""No group crosses parts, earlier samples stay where they were, and decisions are applied."""

from __future__ import annotations

import re
import time
from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import PipelineError
from pipeline.dataset.columns import (
    CONTENT_ID,
    GROUP,
    HEIGHT,
    LABEL,
    ORIGINAL_BYTES,
    ORIGINAL_HEIGHT,
    ORIGINAL_WIDTH,
    RANK,
    SAMPLE_ID,
    WIDTH,
)
from pipeline.dataset.decisions import Verdict
from pipeline.dataset.dedupe_result import DedupeResult
from pipeline.split.partition import (
    COPIES,
    decisions_by_part,
    partition,
    parts_without_decisions,
)
from pipeline.split.stage import report_of
from tests.splits import by_id, deduped, official, params
from tests.tables import content, sample


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Draw samples of three classes with hashes, and writers and pages that join the classes."""
    count = draw(st.integers(40, 90))
    seed = draw(st.integers(0, 2**32))
    random = np.random.default_rng(seed)
    centres = random.integers(0, 2**64, 60, dtype=np.uint64)
    rows: list[dict[str, Any]] = []
    hashes: dict[str, int] = {}
    for number in range(count):
        name = int(random.integers(0, count))
        flips = random.integers(0, 64, int(random.integers(0, 5)))
        value = int(centres[name % 60])
        for bit in flips.tolist():
            value ^= 1 << bit
        hashes.setdefault(content(name), value)
        writer = f"w{random.integers(0, 40)}" if random.random() < 0.5 else None
        page = f"p{random.integers(0, 40)}" if random.random() < 0.3 else None
        row = sample(number, "abc"[name % 60 % 3], content_id=content(name), group=writer)
        rows.append(row | {"page_url": page, "rank": number})
    return rows, hashes


def groups_by_hand(
    rows: list[dict[str, Any]], world: DedupeResult, inside: set[str]
) -> list[set[str]]:
    """Return the groups of the ids `inside`: samples that share a cluster, a writer or a page."""
    found: list[set[str]] = []
    for number, row in enumerate(rows):
        if row["sample_id"] not in inside:
            continue
        keys = {f"c{world.clusters[number]}", row["sample_id"]}
        keys |= {f"w{row['group']}"} if row.get("group") else set()
        keys |= {f"p{row['page_url']}"} if row["page_url"] else set()
        for other in [group for group in found if group & keys]:
            keys |= other
            found.remove(other)
        found.append(keys)
    return [group & inside for group in found]


@given(worlds(), st.integers(0, 5), st.randoms(use_true_random=False))
def test_no_group_crosses_parts_and_the_order_of_rows_does_not_matter(
    made: Any, seed: int, random: Any
) -> None:
    rows, hashes = made
    world = deduped(rows, hashes)
    wanted = params(seed=seed, group_column="page_url")
    try:
        parts = partition(world, wanted, {})
    except PipelineError as error:
        assert re.search("needs 3|cannot have a group", error.message)
        return
    where = by_id(world, parts)
    inside = {name for name, part in where.items() if part != "out"}
    for group in groups_by_hand(rows, world, inside):
        assert len({where[name] for name in group}) == 1
    keys = defaultdict(set)
    for part, key in zip(parts.part, parts.group, strict=True):
        if part != "out":
            keys[key].add(part)
    assert all(len(found) == 1 for found in keys.values())
    leak = report_of(world, parts, wanted)["leak"]
    for part in leak["after"].values():
        assert part["same_bytes"] == part["near_duplicate"] == part["same_group"] == 0
    for name in "abc":
        labels = zip(parts.label, parts.part, strict=True)
        assert {part for label, part in labels if label == name} >= {"train", "valid", "test"}

    random.shuffle(rows)
    again = deduped(rows, hashes)
    other = partition(again, wanted, {})
    assert by_id(again, other) == where
    assert report_of(again, other, wanted)["leak"] == leak


@given(worlds(), st.integers(1, 30), st.integers(0, 2**32), st.booleans())
@settings(max_examples=120)
def test_new_images_move_earlier_ones_only_if_they_join_two_groups(
    made: Any, extra: int, seed: int, alike: bool
) -> None:
    """The new images are random, or near earlier ones: equal, larger, smaller, of other pages, of
    other classes."""
    rows, hashes = made
    random = np.random.default_rng(seed)
    new: list[dict[str, Any]] = []
    more: dict[str, int] = {}
    for number in range(extra):
        row = sample(f"new{number}", "abc"[number % 3], rank=1000 + number)
        more[row["content_id"]] = int(random.integers(0, 2**63))
        if alike:
            like = rows[int(random.integers(0, len(rows)))]
            row["width"] = int(random.integers(9, 60))
            row["label"] = like["label"] if random.random() < 0.8 else row["label"]
            value = hashes[like["content_id"]]
            for bit in random.integers(0, 64, int(random.integers(0, 5))).tolist():
                value ^= 1 << bit
            more[row["content_id"]] = value
        page = f"p{random.integers(0, 80)}" if random.random() < 0.7 else None
        new.append(row | {"page_url": page})
    before, after = deduped(rows, hashes), deduped(rows + new, hashes | more, more)
    wanted = params(group_column="page_url")
    try:
        old, now_ = partition(before, wanted, {}), partition(after, wanted, {})
    except PipelineError:
        return
    was, is_ = by_id(before, old), by_id(after, now_)
    moved = [
        at
        for at, name in enumerate(was)
        if was[name] != is_[name] and "out" not in (was[name], is_[name])
    ]
    assert now_.moved == len(moved)
    # what is one group now, through removed copies as well
    here = {name for name, why in zip(is_, now_.reason, strict=True) if why in ("", *COPIES)}
    names = list(was)
    met: dict[str, set[str]] = {}  # by earlier sample: the earlier groups in its group
    for group in groups_by_hand(rows + new, after, here):
        keys = {old.group[row] for row, name in enumerate(names) if name in group} - {""}
        met |= dict.fromkeys(group, keys)
    is_joined = any(len(keys) > 1 for keys in met.values())
    gone = [name for name in names if was[name] != "out" and name not in here]
    for at in moved:
        event("joined" if len(met[names[at]]) > 1 else "for a class that lost its last one there")
        assert len(met[names[at]]) > 1 or (now_.filled and (is_joined or gone))
    assert alike or not moved


def test_two_groups_that_are_joined_are_in_one_part() -> None:
    rows = [sample(number, page_url=f"p{number}") for number in range(60)]
    world = deduped(rows)
    wanted = params(group_column="page_url")
    parts = by_id(world, partition(world, wanted, {}))
    one = next(name for name, part in parts.items() if part == "train")
    other = next(name for name, part in parts.items() if part == "test")
    joined = [row | ({"group": "anna"} if row["sample_id"] in (one, other) else {}) for row in rows]
    after = partition(deduped(joined), wanted, {})
    found = by_id(deduped(joined), after)
    assert found[one] == found[other]
    moved = {name for name in parts if parts[name] != found[name]}
    assert moved <= {one, other}
    assert after.groups.is_joined.sum() == 1


def test_a_class_without_images_is_an_error_unless_people_deleted_them() -> None:
    rows = [sample(number) for number in range(20)]
    rows += [sample("x", "rare"), sample(3, "rare")]
    with pytest.raises(PipelineError, match="class rare has 1 groups"):
        partition(deduped(rows), params(), {})
    with pytest.raises(PipelineError, match=r"class rare has no images left \(1 label-conflict\)"):
        partition(deduped(rows), params(), {content("x"): Verdict(action="delete")})
    all_deleted = {content(name): Verdict(action="delete") for name in ("x", 3)}
    assert "out" in partition(deduped(rows), params(), all_deleted).part
    with pytest.raises(PipelineError, match="no images left"):
        partition(deduped([]), params(), {})


def test_official_keeps_the_publishers_test_set_and_takes_writers_for_validation() -> None:
    world = deduped(official())
    parts = partition(world, params(method="official", test=0, valid=0.3), {})
    where = by_id(world, parts)
    assert {name for name, part in where.items() if part == "test"} == {
        row["sample_id"] for row in official() if row["official_part"] == "test"
    }
    writers = defaultdict(set)
    for row, part in zip(official(), parts.part, strict=True):
        if "group" in row:
            writers[row["group"]].add(part)
    assert all(len(found) == 1 for found in writers.values())
    assert set.union(*writers.values()) == {"train", "valid"}
    report = report_of(world, parts, params(method="official", test=0, valid=0.3))
    assert report["groups"]["of_known_origin"] == round(48 / 58, 4)
    assert report["leak"]["publisher"]["same_bytes"] == 0
    assert report["leak"]["before"]["same_group"]["mean"] > 0.5, "random letters of known writers"
    assert report["leak"]["after"]["valid"]["same_group"] == 0


def test_official_keeps_the_test_set_whole_except_for_conflicts() -> None:
    rows = official()
    rows[-1]["content_id"] = rows[-3]["content_id"]
    rows[-2]["content_id"] = rows[-5]["content_id"]  # of another class
    parts = partition(deduped(rows), params(method="official", test=0, valid=0.3), {})
    assert parts.part[-1] == parts.part[-3] == "test"
    assert parts.reason[-2] == parts.reason[-5] == "label-conflict"


def test_official_puts_out_training_samples_that_the_test_set_shares() -> None:
    rows = official()
    rows[2]["content_id"] = rows[-1]["content_id"] = content("twice")  # larger in train
    rows[5]["group"] = rows[-2]["group"] = "both"
    world = deduped(rows)
    wanted = params(method="official", test=0, valid=0.3)
    parts = partition(world, wanted, {})
    assert (parts.part[2], parts.reason[2]) == ("out", "same-bytes")
    assert (parts.part[-1], parts.reason[-1]) == ("test", "")
    assert (parts.part[5], parts.reason[5]) == ("out", "group-in-test")
    assert parts.part[-2] == "test"
    report = report_of(world, parts, wanted)
    assert report["leak"]["publisher"] == {"same_bytes": 0.1, "same_group": 0.1}
    assert report["leak"]["after"]["test"] == {"same_bytes": 0.0, "same_group": 0.0}


def test_official_puts_out_near_duplicates_of_test_images() -> None:
    rows = official()
    random = np.random.default_rng(0)
    hashes = {row["content_id"]: int(random.integers(0, 2**63)) for row in rows}
    hashes[rows[0]["content_id"]] = hashes[rows[-1]["content_id"]] ^ 0b111
    parts = partition(deduped(rows, hashes), params(method="official", test=0, valid=0.3), {})
    assert (parts.part[0], parts.reason[0]) == ("out", "duplicate-of-test")


def test_official_needs_the_publishers_parts() -> None:
    wanted = params(method="official", test=0)
    with pytest.raises(PipelineError, match="official_part None; expected train or test"):
        partition(deduped([sample(1)]), wanted, {})
    with pytest.raises(PipelineError, match="no samples"):
        partition(deduped([sample(1, official_part="train")]), wanted, {})


def test_decisions_are_applied() -> None:
    rows = [sample(number) for number in range(30)] + [sample(n, "b") for n in range(50, 60)]
    verdicts = {content(0): Verdict(label="b"), content(1): Verdict(action="delete")}
    parts = partition(deduped(rows), params(), verdicts)
    assert parts.label[0] == "b"
    assert (parts.part[1], parts.reason[1]) == ("out", "deleted")
    assert report_of(deduped(rows), parts, params())["out"] == {"deleted": 1}


def test_decisions_are_counted_by_part() -> None:
    rows = [sample(number, "ab"[number % 2]) for number in range(40)]
    world = deduped(rows)
    undecided = parts_without_decisions(world, params())
    assert undecided == partition(world, params(), {}).part
    by_part = {name: undecided.index(name) for name in ("train", "valid", "test")}
    gone = Verdict(action="delete")
    verdicts = {content(row): gone for row in by_part.values()} | {content("elsewhere"): gone}
    parts = partition(world, params(), verdicts)
    assert [parts.part[row] for row in by_part.values()] == ["out"] * 3
    assert decisions_by_part(verdicts, world, parts.part, undecided) == {
        "train": 1,
        "valid": 1,
        "test": 1,
    }
    assert decisions_by_part(verdicts, world, parts.part, None) == {
        "train": 0,
        "valid": 0,
        "test": 0,
    }
    lost = deduped([sample(n) for n in range(9)] + [sample(1, "b", content_id=content(1))])
    assert parts_without_decisions(lost, params()) is None, "b is in a label conflict, and alone"


def test_a_hundred_thousand_samples_are_quick() -> None:
    numbers = np.arange(100_000)
    ids = np.char.mod("%05d", numbers)
    unknown = pa.nulls(numbers.size, pa.int64())
    samples = pa.table(
        {
            SAMPLE_ID: ids,
            CONTENT_ID: ids,
            LABEL: np.char.mod("%03d", numbers % 150),
            GROUP: np.char.mod("w%d", numbers % 2000),
            **{name: np.full(numbers.size, 30) for name in (WIDTH, HEIGHT)},
            **dict.fromkeys((ORIGINAL_WIDTH, ORIGINAL_HEIGHT, ORIGINAL_BYTES, RANK), unknown),
        }
    )
    hashes = np.random.default_rng(0).integers(0, 2**63, numbers.size).tolist()
    result = deduped(samples, dict(zip(ids.tolist(), hashes, strict=True)))
    started = time.process_time()
    report_of(result, partition(result, params(), {}), params())
    assert time.process_time() - started < 20
