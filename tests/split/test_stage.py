"""No group crosses parts, chance goes by identity, and the proof of both is in the report."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import event, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import PipelineError
from pipeline.core.files import read_json
from pipeline.core.params import Dedupe, Split
from pipeline.dataset.contents import contents_of
from pipeline.dataset.decisions import Decision, Verdict, append_decisions, now
from pipeline.dataset.dedupe_result import DedupeResult
from pipeline.dataset.pairs_table import Edges, clusters_of
from pipeline.dataset.paths import dataset_folder
from pipeline.dataset.split_table import header
from pipeline.dedupe import stage as dedupe
from pipeline.dedupe.hamming import near_pairs
from pipeline.split import stage
from pipeline.split.assign import chance
from pipeline.split.groups import groups_of, origins_of
from pipeline.split.partition import (
    COPIES,
    Partition,
    decisions_by_part,
    partition,
    parts_without_decisions,
)
from pipeline.split.stage import report_of
from tests.running import run
from tests.tables import content, drawn, picture, sample, table, write

PHASH = Dedupe(method="phash", remove_within=2, group_within=4, review_within=6)
EXACT = Dedupe(method="exact")


def marked(
    rows: list[dict[str, Any]], hashes: dict[str, int] | None = None, later: Collection[str] = ()
) -> DedupeResult:
    """Mark rows as dedupe would; `hashes` by content id, none for exact; contents that came
    `later` than the others."""
    samples = table(rows)
    contents = contents_of(samples)
    near = Edges().near
    if hashes is not None:
        values = np.array([hashes[content_id] for content_id in contents.ids], np.uint64)
        near = near_pairs(values, PHASH.review_within)
    links = Edges(near)
    clusters = clusters_of(len(contents.ids), links, PHASH.group_within)[contents.of]
    arrived = np.array([1 + (name in later) for name in contents.ids], np.int64)[contents.of]
    policy = EXACT if hashes is None else PHASH
    return DedupeResult(samples, contents, links, clusters, policy, arrived)


def params(**values: Any) -> Split:
    return Split(**{"method": "group", "valid": 0.2, "test": 0.2, **values})


def by_id(world: DedupeResult, parts: Partition) -> dict[str, str]:
    return dict(zip(world.samples["sample_id"].to_pylist(), parts.part, strict=True))


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Samples of three classes with hashes, writers and pages that join them across classes."""
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
    """Join what shares a cluster, a writer or a page, one by one."""
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
@settings(deadline=None)
def test_no_group_crosses_parts_and_the_order_of_rows_does_not_matter(
    made: Any, seed: int, random: Any
) -> None:
    rows, hashes = made
    world = marked(rows, hashes)
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
    again = marked(rows, hashes)
    other = partition(again, wanted, {})
    assert by_id(again, other) == where
    assert report_of(again, other, wanted)["leak"] == leak


@given(worlds(), st.integers(1, 30), st.integers(0, 2**32), st.booleans())
@settings(deadline=None, max_examples=300)
def test_new_pictures_move_old_ones_only_where_two_groups_become_one(
    made: Any, extra: int, seed: int, alike: bool
) -> None:
    """New ones at random, or near to old ones: the same, better, worse, of other pages, of other
    classes."""
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
    before, after = marked(rows, hashes), marked(rows + new, hashes | more, more)
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
    met: dict[str, set[str]] = {}  # the old groups that an old picture's group has in it
    for group in groups_by_hand(rows + new, after, here):
        keys = {old.group[row] for row, name in enumerate(names) if name in group} - {""}
        met |= dict.fromkeys(group, keys)
    is_joined = any(len(keys) > 1 for keys in met.values())
    gone = [name for name in names if was[name] != "out" and name not in here]
    for at in moved:
        event("joined" if len(met[names[at]]) > 1 else "for a class that lost its last one there")
        assert len(met[names[at]]) > 1 or (now_.filled and (is_joined or gone))
    assert alike or not moved


def test_two_groups_that_become_one_are_in_one_part() -> None:
    rows = [sample(number, page_url=f"p{number}") for number in range(60)]
    world = marked(rows)
    wanted = params(group_column="page_url")
    parts = by_id(world, partition(world, wanted, {}))
    one = next(name for name, part in parts.items() if part == "train")
    other = next(name for name, part in parts.items() if part == "test")
    joined = [row | ({"group": "anna"} if row["sample_id"] in (one, other) else {}) for row in rows]
    after = partition(marked(joined), wanted, {})
    found = by_id(marked(joined), after)
    assert found[one] == found[other]
    moved = {name for name in parts if parts[name] != found[name]}
    assert moved <= {one, other}
    assert after.groups.is_joined.sum() == 1


def test_shares_are_met_in_expectation_or_exactly() -> None:
    rows = [sample(number, "ab"[number % 2], group=f"w{number // 3}") for number in range(3000)]
    world = marked(rows)
    for stratify, most in (("expected", 0.05), ("exact", 0.004)):
        parts = partition(world, params(stratify=stratify, valid=0.1, test=0.3), {})
        report = report_of(world, parts, params())
        for part, share in (("train", 0.6), ("valid", 0.1), ("test", 0.3)):
            assert abs(report["parts"][part]["share"] - share) < most
            assert report["parts"][part]["largest_imbalance"] < most
        assert sum(report["parts"][part]["samples"] for part in report["parts"]) == 3000
        assert set(parts.part) == {"train", "valid", "test"}


def test_exact_shares_are_met_again_when_a_dataset_grows_and_who_moved_is_counted() -> None:
    rows = [sample(number, group=f"w{number // 3}") for number in range(300)]
    new = [sample(f"new{number}", group=f"v{number}") for number in range(300)]
    later = {row["content_id"] for row in new}
    before, after = marked(rows), marked(rows + new, later=later)
    for stratify, most in (("expected", 0.1), ("exact", 0.01)):
        wanted = params(stratify=stratify)
        old, parts = partition(before, wanted, {}), partition(after, wanted, {})
        was, is_ = by_id(before, old), by_id(after, parts)
        assert parts.moved == sum(is_[name] != part for name, part in was.items())
        assert (parts.moved > 0) == (stratify == "exact")
        assert abs(parts.part.count("test") / 600 - 0.2) < most


def test_the_seed_decides() -> None:
    world = marked([sample(number) for number in range(100)])
    assert partition(world, params(seed=1), {}).part != partition(world, params(seed=2), {}).part
    assert partition(world, params(seed=1), {}).part == partition(world, params(seed=1), {}).part
    assert 0 <= chance(1, "x") < 1 and chance(1, "x") != chance(2, "x")


def test_a_small_class_is_a_clear_error() -> None:
    rows = [sample(number) for number in range(20)] + [sample("x", "rare"), sample("y", "rare")]
    with pytest.raises(PipelineError, match=r"class rare has 2 groups.*needs 3, one each for"):
        partition(marked(rows), params(), {})
    assert "rare" in partition(marked(rows), params(test=0), {}).label
    one_page = [row | {"page_url": "p"} if row["label"] == "rare" else row for row in rows]
    with pytest.raises(PipelineError, match="class rare has 1 groups"):
        partition(marked(one_page), params(test=0, group_column="page_url"), {})


def test_a_class_with_nothing_left_is_a_clear_error_unless_people_deleted_it() -> None:
    rows = [sample(number) for number in range(20)]
    rows += [sample("x", "rare"), sample(3, "rare")]
    with pytest.raises(PipelineError, match="class rare has 1 groups"):
        partition(marked(rows), params(), {})
    with pytest.raises(PipelineError, match=r"class rare has no images left \(1 label-conflict\)"):
        partition(marked(rows), params(), {content("x"): Verdict(action="delete")})
    all_deleted = {content(name): Verdict(action="delete") for name in ("x", 3)}
    assert "out" in partition(marked(rows), params(), all_deleted).part
    with pytest.raises(PipelineError, match="no images left"):
        partition(marked([]), params(), {})


def test_every_class_gets_a_group_in_every_part_if_it_has_three() -> None:
    rows = [sample(f"{name}{number}", name) for name in "abcdefgh" for number in range(3)]
    parts = partition(marked(rows), params(valid=0.05, test=0.05), {})
    found = Counter(zip(parts.label, parts.part, strict=True))
    assert set(found.values()) == {1}
    assert parts.filled > 0


def test_classes_that_share_their_groups_cannot_be_parted() -> None:
    rows = [sample(f"{n}{name}", name, group=f"w{n}") for n in range(3) for name in "ab"]
    assert set(partition(marked(rows), params(), {}).part) == {"train", "valid", "test"}
    chain = [("1", "a", "w1"), ("2", "a", "w2"), ("3", "b", "w1"), ("4", "b", "w2")]
    two = [sample(name, label, group=writer) for name, label, writer in chain]
    more = [sample("5", "a"), sample("6", "b", group="w1"), sample("7", "b", group="w2")]
    with pytest.raises(PipelineError, match="class b has 2 groups"):
        partition(marked(two + more), params(), {})


def official() -> list[dict[str, Any]]:
    """Twelve writers of train with two letters each, and a test part by nobody known."""
    rows = [
        sample(f"{writer}-{n}", label, group=f"w{writer}", official_part="train")
        for writer in range(12)
        for n, label in enumerate("aabb")
    ]
    return rows + [
        sample(f"t{n}", "ab"[n % 2], official_part="test", original_width=1) for n in range(10)
    ]


def test_official_keeps_the_publishers_test_and_takes_writers_for_validation() -> None:
    world = marked(official())
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


def test_official_keeps_test_whole_but_for_conflicts() -> None:
    rows = official()
    rows[-1]["content_id"] = rows[-3]["content_id"]
    rows[-2]["content_id"] = rows[-5]["content_id"]  # of another class
    parts = partition(marked(rows), params(method="official", test=0, valid=0.3), {})
    assert parts.part[-1] == parts.part[-3] == "test"
    assert parts.reason[-2] == parts.reason[-5] == "label-conflict"


def test_official_puts_out_what_train_shares_with_test() -> None:
    rows = official()
    rows[2]["content_id"] = rows[-1]["content_id"] = content("twice")  # larger in train
    rows[5]["group"] = rows[-2]["group"] = "both"
    world = marked(rows)
    wanted = params(method="official", test=0, valid=0.3)
    parts = partition(world, wanted, {})
    assert (parts.part[2], parts.reason[2]) == ("out", "same-bytes")
    assert (parts.part[-1], parts.reason[-1]) == ("test", "")
    assert (parts.part[5], parts.reason[5]) == ("out", "group-in-test")
    assert parts.part[-2] == "test"
    report = report_of(world, parts, wanted)
    assert report["leak"]["publisher"] == {"same_bytes": 0.1, "same_group": 0.1}
    assert report["leak"]["after"]["test"] == {"same_bytes": 0.0, "same_group": 0.0}


def test_official_puts_out_what_only_looks_like_a_test_picture() -> None:
    rows = official()
    random = np.random.default_rng(0)
    hashes = {row["content_id"]: int(random.integers(0, 2**63)) for row in rows}
    hashes[rows[0]["content_id"]] = hashes[rows[-1]["content_id"]] ^ 0b111
    parts = partition(marked(rows, hashes), params(method="official", test=0, valid=0.3), {})
    assert (parts.part[0], parts.reason[0]) == ("out", "duplicate-of-test")


def test_official_needs_the_publishers_parts() -> None:
    wanted = params(method="official", test=0)
    with pytest.raises(PipelineError, match="official_part None; expected train or test"):
        partition(marked([sample(1)]), wanted, {})
    with pytest.raises(PipelineError, match="no samples"):
        partition(marked([sample(1, official_part="train")]), wanted, {})


def test_random_shows_the_flattering_number() -> None:
    world = marked(official())
    wanted = params(method="random")
    parts = partition(world, wanted, {})
    assert report_of(world, parts, wanted)["leak"]["after"]["valid"]["same_group"] > 0.5


def test_a_pattern_finds_the_original_in_a_name() -> None:
    rows = [sample(f"img{n // 4}_jpg.rf.{n}") for n in range(80)] + [sample("other.png")]
    origins = origins_of(table(rows), None, r"/(.+)_jpg\.rf\.")
    assert len(origins[1].values) == 20
    groups = groups_of(np.arange(81), origins, [row["content_id"] for row in rows])
    assert len(groups.keys) == 21
    assert "sample_id=img7" in groups.keys
    whole = origins_of(table(rows), "sample_id", "img[0-9]+")
    assert whole[1].values[0] == "img0"
    with pytest.raises(PipelineError, match="group_pattern 'x_y' matches no value of sample_id"):
        origins_of(table(rows), None, "x_y")
    with pytest.raises(PipelineError, match=r"unknown group_column 'colour'; columns: sample_id"):
        origins_of(table(rows), "colour", None)


def test_folds_are_whole_groups_stratified_and_outside_test() -> None:
    rows = [sample(number, "ab"[number % 2], group=f"w{number // 4}") for number in range(400)]
    world = marked(rows)
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
    again = partition(marked([rows[n] for n in order]), params(folds=5), {})
    assert again.fold == [parts.fold[n] for n in order]
    with pytest.raises(PipelineError, match="class a has 3 groups and needs 5, one for each fold"):
        partition(marked([sample(n) for n in range(3)]), params(folds=5, valid=0.2, test=0), {})


def test_decisions_of_people_are_applied() -> None:
    rows = [sample(number) for number in range(30)] + [sample(n, "b") for n in range(50, 60)]
    said = {content(0): Verdict(label="b"), content(1): Verdict(action="delete")}
    parts = partition(marked(rows), params(), said)
    assert parts.label[0] == "b"
    assert (parts.part[1], parts.reason[1]) == ("out", "deleted")
    assert report_of(marked(rows), parts, params())["out"] == {"deleted": 1}


def test_decisions_about_valid_and_test_are_counted_apart() -> None:
    rows = [sample(number, "ab"[number % 2]) for number in range(40)]
    world = marked(rows)
    undecided = parts_without_decisions(world, params())
    assert undecided == partition(world, params(), {}).part
    by_part = {name: undecided.index(name) for name in ("train", "valid", "test")}
    gone = Verdict(action="delete")
    said = {content(row): gone for row in by_part.values()} | {content("elsewhere"): gone}
    parts = partition(world, params(), said)
    assert [parts.part[row] for row in by_part.values()] == ["out"] * 3
    assert decisions_by_part(said, world, parts.part, undecided) == {
        "train": 1,
        "valid": 1,
        "test": 1,
    }
    assert decisions_by_part(said, world, parts.part, None) == {"train": 0, "valid": 0, "test": 0}
    lost = marked([sample(n) for n in range(9)] + [sample(1, "b", content_id=content(1))])
    assert parts_without_decisions(lost, params()) is None, "b is in a label conflict, and alone"


def test_a_hundred_thousand_samples_are_quick() -> None:
    rows = [
        sample(number, f"{number % 150:03}", group=f"w{number % 2000}") for number in range(100_000)
    ]
    random = np.random.default_rng(0)
    hashes = {row["content_id"]: int(random.integers(0, 2**63)) for row in rows}
    world = marked(rows, hashes)
    started = time.process_time()
    report_of(world, partition(world, params(), {}), params())
    assert time.process_time() - started < 20


# ---- the stages, on files


def drawn_world(count: int = 14) -> list[dict[str, Any]]:
    """Two classes of drawn pictures with an exact copy, a near copy and one under two labels."""
    rows = [picture(f"{n}", drawn(n), "ab"[n % 2]) for n in range(count)]
    small = drawn(0).resize((200, 150))
    rows.append(picture("near", small, "a", quality=80))
    rows.append(rows[1] | {"sample_id": "b/copy"})
    rows.append(rows[2] | {"sample_id": "b/wrong", "label": "b"})
    return rows


def rows_of(dataset: str) -> dict[str, dict[str, str]]:
    with (dataset_folder(dataset) / "split.csv").open(newline="", encoding="utf-8") as file:
        return {row["sample_id"]: row for row in csv.DictReader(file)}


def test_the_stages_run_on_a_dataset_of_any_name(project: Callable[..., Path]) -> None:
    project(
        **{
            "dedupe.birds": {"method": "phash"},
            "split.birds": {"method": "group", "valid": 0.2, "test": 0.2, "folds": 2},
        }
    )
    rows = drawn_world()
    write("birds", rows)
    run(dedupe.main, "birds")
    run(stage.main, "birds")
    found = rows_of("birds")
    assert list(found["a/0"]) == [*header(has_folds=True)]
    out = {name: row["reason"] for name, row in found.items() if row["part"] == "out"}
    assert out["a/near"] == "near-duplicate"
    assert {out.get("b/1"), out.get("b/copy")} == {None, "same-bytes"}
    assert out["a/2"] == out["b/wrong"] == "label-conflict"
    report = read_json(dataset_folder("birds") / "reports" / "split.json")
    assert report["out"] == {"label-conflict": 2, "near-duplicate": 1, "same-bytes": 1}

    decision = Decision(now(), rows[2]["content_id"], "relabel", "a", "seen", "anna")
    append_decisions(dataset_folder("birds") / "decisions.csv", [decision])
    run(stage.main, "birds")
    assert (
        Counter(rows_of("birds")[name]["part"] == "out" for name in ("a/2", "b/wrong"))[True] == 1
    )
    said = read_json(dataset_folder("birds") / "reports" / "split.json")["decisions"]
    assert (said["pictures"], said["of_no_sample"], said["by_action"]) == (1, 0, {"relabel": 1})
    assert sum(said["touching"].values()) == 1
    first = (dataset_folder("birds") / "split.csv").read_bytes()
    run(stage.main, "birds")
    assert (dataset_folder("birds") / "split.csv").read_bytes() == first


def test_a_dataset_that_grows_keeps_its_parts(project: Callable[..., Path]) -> None:
    """Three top-ups of near copies with pages of their own, through the stages and their files."""
    values = {"method": "group", "valid": 0.25, "test": 0.25, "group_column": "page_url"}
    project(**{"dedupe.birds": {"method": "phash"}, "split.birds": values})
    rows = [
        picture(f"{'ab'[seed % 2]}/{seed}", drawn(seed), "ab"[seed % 2], page_url=f"p{seed + 50}")
        for seed in range(24)
    ]
    before: dict[str, str] = {}
    for round_ in range(3):
        write("birds", rows)
        run(dedupe.main, "birds")
        run(stage.main, "birds")
        report = read_json(dataset_folder("birds") / "reports" / "split.json")
        assert report["moved_by_newest"] == 0
        found = {name: row["part"] for name, row in rows_of("birds").items()}
        gone = [name for name in before if found[name] == "out" != before[name]]
        assert bool(gone) == bool(round_), "a larger copy is kept instead"
        assert {name: before[name] for name in before if name not in gone}.items() <= found.items()
        came = pq.read_table(dataset_folder("birds") / "arrivals.parquet").to_pydict()
        assert Counter(came["arrived"])[round_ + 1] == (24 if round_ == 0 else 4)
        before = {name: part for name, part in found.items() if part != "out"}
        # larger copies of four old ones, on pages that sort before all others
        for number in range(4 * round_, 4 * round_ + 4):
            label, larger = "ab"[number % 2], drawn(number).resize((480, 360))
            page = f"p{40 - number}"
            rows.append(picture(f"{label}/new{number}", larger, label, page_url=page))


def test_a_picture_that_joins_two_old_groups_is_said(project: Callable[..., Path]) -> None:
    values = {"method": "group", "valid": 0.25, "test": 0.25, "group_column": "page_url"}
    project(**{"dedupe.birds": {"method": "exact"}, "split.birds": values})
    rows = [sample(n, "ab"[n % 2], group=f"w{n}", page_url=f"p{n}") for n in range(40)]
    write("birds", rows)
    run(dedupe.main, "birds")
    run(stage.main, "birds")
    was = {name: row["part"] for name, row in rows_of("birds").items()}
    one, other = (list(was.values()).index(part) for part in ("train", "test"))
    write("birds", [*rows, sample("new", "a", group=f"w{one}", page_url=f"p{other}")])
    run(dedupe.main, "birds")
    said = run(stage.main, "birds").output
    is_ = {name: row["part"] for name, row in rows_of("birds").items()}
    assert sum(was[name] != is_[name] for name in was) == 1
    assert read_json(dataset_folder("birds") / "reports/split.json")["moved_by_newest"] == 1
    assert "birds: new images moved 1 earlier images to another part" in said
    (dataset_folder("birds") / "arrivals.parquet").write_bytes(b"PAR1")
    found = CliRunner().invoke(stage.main, ["birds"])
    assert found.exit_code == 1 and "arrivals.parquet: file is damaged" in found.output


def test_what_is_missing_or_foreign_is_named(project: Callable[..., Path]) -> None:
    project(
        **{
            "dedupe.birds": {"method": "exact"},
            "split.birds": {"method": "group", "valid": 0.2, "test": 0.2},
        }
    )

    def fails(command: Any, says: str) -> None:
        result = CliRunner().invoke(command, ["birds"])
        assert result.exit_code == 1
        assert re.search(says, result.output), result.output
        assert result.output.count("\n") == 1

    fails(stage.main, "unknown dataset 'birds'; this project has: dances, tamil")
    (dataset_folder("birds")).mkdir()
    fails(stage.main, "birds/samples.parquet: file not found; run `dvc repro`, or `dvc pull`")
    rows = [sample(n, "ab"[n % 2]) for n in range(40)]
    write("birds", rows)
    fails(stage.main, "birds/dedupe.parquet: file not found; run `dvc repro dedupe@birds`")
    run(dedupe.main, "birds")
    decisions = dataset_folder("birds") / "decisions.csv"
    append_decisions(decisions, [Decision(now(), content(0), "relabel", "c")])
    fails(stage.main, "has the unknown label 'c'; classes: a, b")
    decisions.write_text("nonsense\n")
    fails(stage.main, "decisions.csv:1: expected the header")
    decisions.unlink()
    write("birds", rows[1:])
    fails(stage.main, "dedupe.parquet: file is damaged.*its samples are not")
    (dataset_folder("birds") / "dedupe.parquet").write_bytes(b"PAR1 nonsense")
    fails(stage.main, "dedupe.parquet: file is damaged or was written by another version")
    result = CliRunner().invoke(stage.main, ["fish"])
    assert "unknown dataset 'fish'; this project has: birds, dances, tamil" in result.output


def test_split_is_a_module_that_dvc_can_run(project: Callable[..., Path]) -> None:
    project()
    command = [sys.executable, "-m", "pipeline.split", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "python -m pipeline.split dances" in done.stdout
