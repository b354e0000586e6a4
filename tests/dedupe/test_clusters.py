"""Stars decide removal, components decide label conflicts, and people override both."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dataset.contents import Contents, Ints, contents_of
from pipeline.dataset.decisions import Verdict
from pipeline.dataset.pairs_table import Pairs
from pipeline.dedupe.clusters import Marks, mark
from pipeline.dedupe.hamming import near_pairs
from tests.tables import content, sample, table


def marks_of(
    rows: list[dict[str, Any]],
    near: list[tuple[str, str, int]],
    decided: dict[str, Verdict] | None = None,
) -> dict[str, tuple[str, str, str, int]]:
    """Return (status, reason, keeper, distance) by sample id; `near` are (name, name, bits)."""
    samples = table(rows)
    contents = contents_of(samples)
    place = {content_id: number for number, content_id in enumerate(contents.ids)}
    pairs = [
        (*sorted((place[content(one)], place[content(other)])), bits) for one, other, bits in near
    ]
    a, b, bits = np.array(pairs or np.empty((0, 3)), np.int64).T
    marks = mark(
        samples,
        contents,
        Pairs(a, b, bits.astype(np.int32)),
        6,
        {content(name): verdict for name, verdict in (decided or {}).items()},
    )
    ids = samples["sample_id"].to_pylist()
    keepers = [ids[keeper] for keeper in marks.keeper]
    columns = (marks.status, marks.reason, keepers, marks.distance.tolist())
    return dict(zip(ids, zip(*columns, strict=True), strict=True))


def test_the_same_bytes_keep_the_largest_original_then_bytes_rank_and_id() -> None:
    same = {"content_id": content("x")}
    rows = [
        sample(1, **same, original_width=10, original_height=10),
        sample(2, **same, original_width=30, original_height=40, original_bytes=5, rank=2),
        sample(3, **same, original_width=40, original_height=30, original_bytes=7),
        sample(4, **same, original_bytes=7, rank=3),  # 30 x 40 as stored
        sample(5, **same, original_bytes=7, rank=3),
    ]
    found = marks_of(rows, [])
    assert found["a/4"] == ("keep", "", "a/4", 0)
    for name in "1235":
        assert found[f"a/{name}"] == ("remove", "same-bytes", "a/4", 0)


def test_a_near_duplicate_has_a_keeper_within_the_bound_not_through_a_chain() -> None:
    sizes = {"w": 90, "x": 80, "y": 70, "z": 60}
    rows = [sample(name, original_width=size, original_height=9) for name, size in sizes.items()]
    found = marks_of(rows, [("w", "x", 5), ("x", "y", 5), ("y", "z", 6), ("w", "z", 7)])
    assert found["a/w"] == ("keep", "", "a/w", 0)
    assert found["a/x"] == ("remove", "near-duplicate", "a/w", 5)
    assert found["a/y"] == ("keep", "", "a/y", 0), "x is removed and removes nothing itself"
    assert found["a/z"] == ("remove", "near-duplicate", "a/y", 6)


def test_a_copy_of_a_removed_image_has_the_same_keeper() -> None:
    rows = [
        sample("big", original_width=99, original_height=99),
        sample("small", rank=1),
        sample("copy", content_id=content("small")),
    ]
    found = marks_of(rows, [("big", "small", 3)])
    assert found["a/copy"] == ("remove", "same-bytes", "a/big", 3)
    assert found["a/small"] == ("remove", "near-duplicate", "a/big", 3)


def conflict(decided: dict[str, Verdict] | None = None) -> dict[str, str]:
    """Return the statuses of one image with two labels, of its near copy and of another image."""
    rows = [
        sample("x", "a", original_width=99, original_height=99),
        sample("y", "b"),
        sample("z", "a"),
        sample("far", "b"),
    ]
    found = marks_of(rows, [("x", "y", 2), ("y", "z", 4), ("z", "far", 7)], decided)
    return {name.split("/")[1]: status for name, (status, *_) in found.items()}


def test_a_cluster_with_two_labels_is_a_conflict() -> None:
    assert conflict() == {"x": "conflict", "y": "conflict", "z": "conflict", "far": "keep"}


def test_decisions_resolve_a_conflict() -> None:
    relabelled = conflict({"y": Verdict(label="a")})
    assert relabelled == {"x": "keep", "y": "remove", "z": "keep", "far": "keep"}
    deleted = conflict({"y": Verdict(action="delete")})
    assert deleted == {"x": "keep", "y": "remove", "z": "keep", "far": "keep"}
    kept = conflict({"x": Verdict(action="keep")})
    assert kept == {"x": "keep", "y": "conflict", "z": "conflict", "far": "keep"}
    keeper = conflict({"y": Verdict(action="keeper")})
    assert keeper == {"x": "remove", "y": "keep", "z": "remove", "far": "keep"}
    apart = conflict({"y": Verdict(action="not-duplicate")})
    assert apart == {"x": "keep", "y": "keep", "z": "keep", "far": "keep"}


def test_only_a_label_resolves_the_same_bytes_with_two_labels() -> None:
    rows = [sample("x", "a"), sample("x", "b")]
    for decided in (None, {"x": Verdict(action="keep")}, {"x": Verdict(action="not-duplicate")}):
        assert {status for status, *_ in marks_of(rows, [], decided).values()} == {"conflict"}
    found = marks_of(rows, [], {"x": Verdict(label="b")})
    assert sorted(status for status, *_ in found.values()) == ["keep", "remove"]


def test_decisions_override_removal() -> None:
    rows = [sample("x", original_width=99, original_height=99), sample("y"), sample("z")]
    near = [("x", "y", 2), ("y", "z", 2)]
    assert marks_of(rows, near)["a/y"][0] == "remove"
    kept = marks_of(rows, near, {"y": Verdict(action="keep")})
    assert [kept[f"a/{name}"][0] for name in "xyz"] == ["keep", "keep", "remove"]
    chosen = marks_of(rows, near, {"y": Verdict(action="keeper")})
    assert [chosen[f"a/{name}"][0] for name in "xyz"] == ["remove", "keep", "remove"]
    deleted = marks_of(rows, near, {"x": Verdict(action="delete")})
    assert deleted["a/x"][:2] == ("remove", "deleted")
    assert deleted["a/y"][0] == "keep"


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[int], dict[str, Verdict]]:
    """Draw samples, an 8-bit hash of each content, and decisions; most contents are near others."""
    contents = draw(st.integers(1, 12))
    hashes = draw(st.lists(st.integers(0, 255), min_size=contents, max_size=contents))
    count = draw(st.integers(contents, 25))
    rows = [
        sample(
            f"{number:02}",
            draw(st.sampled_from("aab")),
            content_id=content(number % contents),
            original_width=draw(st.integers(1, 3)),
            original_height=1,
        )
        for number in range(count)
    ]
    actions = st.sampled_from([None, None, "keep", "delete", "keeper", "not-duplicate"])
    verdict = st.builds(Verdict, st.sampled_from([None, "a", "b"]), actions)
    decided = draw(st.dictionaries(st.integers(0, contents - 1).map(content), verdict, max_size=3))
    return rows, hashes, decided


def mark_world(
    rows: list[dict[str, Any]], hashes: list[int], decided: dict[str, Verdict]
) -> tuple[Contents, Ints, Marks]:
    samples = table(rows)
    contents = contents_of(samples)
    of = {content(number): value for number, value in enumerate(hashes)}
    values = np.array([of[content_id] for content_id in contents.ids], np.uint64)
    return (
        contents,
        values.astype(np.int64),
        mark(samples, contents, near_pairs(values, 2), 2, decided),
    )


@given(worlds(), st.randoms(use_true_random=False))
def test_marks_are_sound_and_the_order_of_rows_does_not_matter(world: Any, random: Any) -> None:
    rows, hashes, decided = world
    contents, values, marks = mark_world(rows, hashes, decided)
    ids = [row["sample_id"] for row in rows]
    kept = [n for n, status in enumerate(marks.status) if status == "keep"]
    assert len({contents.of[n] for n in kept}) == len(kept), "a content is kept once"
    for n, (status, reason) in enumerate(zip(marks.status, marks.reason, strict=True)):
        assert (status == "keep") == (reason == "")
        verdict = decided.get(contents.ids[contents.of[n]], Verdict())
        assert (reason == "deleted") == (verdict.action == "delete")
        if status == "keep":
            assert marks.keeper[n] == n
        if status == "remove" and reason != "deleted":
            keeper = marks.keeper[n]
            assert marks.status[keeper] == "keep", "the keeper of a removed sample is kept"
            bits = int(values[contents.of[n]] ^ values[contents.of[keeper]]).bit_count()
            assert bits == marks.distance[n] <= 2
            assert marks.label[n] == marks.label[keeper] or decided, "or a person has decided"
    if not decided:
        in_row = [(n, m) for n in kept for m in kept if n < m]
        assert all(
            int(values[contents.of[n]] ^ values[contents.of[m]]).bit_count() > 2 for n, m in in_row
        )

    shuffled = list(range(len(rows)))
    random.shuffle(shuffled)
    _, _, again = mark_world([rows[n] for n in shuffled], hashes, decided)
    for place, n in enumerate(shuffled):
        assert (again.status[place], again.reason[place]) == (marks.status[n], marks.reason[n])
        assert ids[shuffled[again.keeper[place]]] == ids[marks.keeper[n]]
