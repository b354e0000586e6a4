"""Who is kept for whom: stars for removal, components for conflicts, people above both."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dataset.contents import Contents, Ints, contents_of
from pipeline.dataset.decisions import Verdict
from pipeline.dataset.pairs_table import Pairs, components
from pipeline.dedupe.clusters import Marks, mark
from pipeline.dedupe.hamming import near_pairs
from tests.tables import content, sample, table


def marked(
    rows: list[dict[str, Any]],
    near: list[tuple[str, str, int]],
    said: dict[str, Verdict] | None = None,
) -> dict[str, tuple[str, str, str, int]]:
    """Mark rows; `near` are (name, name, bits). Return what stands by sample id."""
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
        {content(name): verdict for name, verdict in (said or {}).items()},
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
    found = marked(rows, [])
    assert found["a/4"] == ("keep", "", "a/4", 0)
    for name in "1235":
        assert found[f"a/{name}"] == ("remove", "same-bytes", "a/4", 0)


def test_near_ones_go_to_a_keeper_within_reach_never_by_a_chain() -> None:
    sizes = {"w": 90, "x": 80, "y": 70, "z": 60}
    rows = [sample(name, original_width=size, original_height=9) for name, size in sizes.items()]
    found = marked(rows, [("w", "x", 5), ("x", "y", 5), ("y", "z", 6), ("w", "z", 7)])
    assert found["a/w"] == ("keep", "", "a/w", 0)
    assert found["a/x"] == ("remove", "near-duplicate", "a/w", 5)
    assert found["a/y"] == ("keep", "", "a/y", 0), "x is gone and takes nobody with it"
    assert found["a/z"] == ("remove", "near-duplicate", "a/y", 6)


def test_a_copy_of_a_removed_picture_goes_to_the_same_keeper() -> None:
    rows = [
        sample("big", original_width=99, original_height=99),
        sample("small", rank=1),
        sample("copy", content_id=content("small")),
    ]
    found = marked(rows, [("big", "small", 3)])
    assert found["a/copy"] == ("remove", "same-bytes", "a/big", 3)
    assert found["a/small"] == ("remove", "near-duplicate", "a/big", 3)


def conflict(said: dict[str, Verdict] | None = None) -> dict[str, str]:
    """Return the statuses of one picture under two labels, its near copy and a bystander."""
    rows = [
        sample("x", "a", original_width=99, original_height=99),
        sample("y", "b"),
        sample("z", "a"),
        sample("far", "b"),
    ]
    found = marked(rows, [("x", "y", 2), ("y", "z", 4), ("z", "far", 7)], said)
    return {name.split("/")[1]: status for name, (status, *_) in found.items()}


def test_a_cluster_under_two_labels_stays_out_whole() -> None:
    assert conflict() == {"x": "conflict", "y": "conflict", "z": "conflict", "far": "keep"}


def test_people_resolve_a_conflict() -> None:
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


def test_the_same_bytes_under_two_labels_need_a_label() -> None:
    rows = [sample("x", "a"), sample("x", "b")]
    for said in (None, {"x": Verdict(action="keep")}, {"x": Verdict(action="not-duplicate")}):
        assert {status for status, *_ in marked(rows, [], said).values()} == {"conflict"}
    found = marked(rows, [], {"x": Verdict(label="b")})
    assert sorted(status for status, *_ in found.values()) == ["keep", "remove"]


def test_people_keep_what_the_machine_removes() -> None:
    rows = [sample("x", original_width=99, original_height=99), sample("y"), sample("z")]
    near = [("x", "y", 2), ("y", "z", 2)]
    assert marked(rows, near)["a/y"][0] == "remove"
    kept = marked(rows, near, {"y": Verdict(action="keep")})
    assert [kept[f"a/{name}"][0] for name in "xyz"] == ["keep", "keep", "remove"]
    chosen = marked(rows, near, {"y": Verdict(action="keeper")})
    assert [chosen[f"a/{name}"][0] for name in "xyz"] == ["remove", "keep", "remove"]
    deleted = marked(rows, near, {"x": Verdict(action="delete")})
    assert deleted["a/x"][:2] == ("remove", "deleted")
    assert deleted["a/y"][0] == "keep"


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[int], dict[str, Verdict]]:
    """Samples, each content's 8-bit hash, and decisions; everything is near to something."""
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
    verdicts = st.builds(Verdict, st.sampled_from([None, "a", "b"]), actions)
    said = draw(st.dictionaries(st.integers(0, contents - 1).map(content), verdicts, max_size=3))
    return rows, hashes, said


def mark_world(
    rows: list[dict[str, Any]], hashes: list[int], said: dict[str, Verdict]
) -> tuple[Contents, Ints, Marks]:
    samples = table(rows)
    contents = contents_of(samples)
    of = {content(number): value for number, value in enumerate(hashes)}
    values = np.array([of[content_id] for content_id in contents.ids], np.uint64)
    return (
        contents,
        values.astype(np.int64),
        mark(samples, contents, near_pairs(values, 2), 2, said),
    )


@given(worlds(), st.randoms(use_true_random=False))
def test_marks_are_sound_and_the_order_of_rows_does_not_matter(world: Any, random: Any) -> None:
    rows, hashes, said = world
    contents, values, marks = mark_world(rows, hashes, said)
    ids = [row["sample_id"] for row in rows]
    kept = [n for n, status in enumerate(marks.status) if status == "keep"]
    assert len({contents.of[n] for n in kept}) == len(kept), "a content is kept once"
    for n, (status, reason) in enumerate(zip(marks.status, marks.reason, strict=True)):
        assert (status == "keep") == (reason == "")
        verdict = said.get(contents.ids[contents.of[n]], Verdict())
        assert (reason == "deleted") == (verdict.action == "delete")
        if status == "keep":
            assert marks.keeper[n] == n
        if status == "remove" and reason != "deleted":
            keeper = marks.keeper[n]
            assert marks.status[keeper] == "keep", "whoever is removed has a keeper that is in"
            bits = int(values[contents.of[n]] ^ values[contents.of[keeper]]).bit_count()
            assert bits == marks.distance[n] <= 2
            assert marks.label[n] == marks.label[keeper] or said, "or a person said so"
    if not said:
        in_row = [(n, m) for n in kept for m in kept if n < m]
        assert all(
            int(values[contents.of[n]] ^ values[contents.of[m]]).bit_count() > 2 for n, m in in_row
        )

    shuffled = list(range(len(rows)))
    random.shuffle(shuffled)
    _, _, again = mark_world([rows[n] for n in shuffled], hashes, said)
    for place, n in enumerate(shuffled):
        assert (again.status[place], again.reason[place]) == (marks.status[n], marks.reason[n])
        assert ids[shuffled[again.keeper[place]]] == ids[marks.keeper[n]]


def test_components_are_numbered_by_their_first_node() -> None:
    a, b = np.array([4, 1]), np.array([2, 3])
    assert components(5, a, b).tolist() == [0, 1, 2, 1, 2]
