"""Near-duplicates: what dedupe removed, and the pairs that it asks a person about."""

from __future__ import annotations

from collections import defaultdict

from pipeline.dataset.columns import DISTANCE, KEEPER_ID, REASON, SAMPLE_ID, STATUS
from pipeline.dataset.dedupe_result import KEEP, NEAR_DUPLICATE, SAME_BYTES, read_marks
from pipeline.dataset.pairs_table import KINDS, NEAR, SAME
from pipeline.dataset.paths import dedupe_path, pairs_path
from pipeline.pages.review.tabs.similarity import (
    Similarities,
    compared,
    described,
    groups_of,
    read_similarities,
)
from pipeline.pages.review.tabs.tab import ReviewData, Section, Tab

REMOVED = "Removed"
KIND_OF = {SAME_BYTES: SAME, NEAR_DUPLICATE: NEAR}  # dedupe's reason -> kind of pair


def sections(data: ReviewData) -> list[Section]:
    """Return the removed images beside their keepers, then the pairs with both images kept.

    The least similar come first: mistakes are most likely there.
    """
    row_of = data.row_of()
    similarities = read_similarities(data.name, row_of)
    kept: set[int] = set()
    removed: dict[int, list[tuple[int, int, str]]] = defaultdict(list)  # by the keeper's row
    columns = [SAMPLE_ID, KEEPER_ID, STATUS, REASON, DISTANCE]
    for mark in read_marks(data.name, columns).to_pylist():
        if mark[SAMPLE_ID] not in row_of or mark[KEEPER_ID] not in row_of:
            continue
        row = row_of[mark[SAMPLE_ID]]
        if mark[STATUS] == KEEP:
            kept.add(row)
        if mark[REASON] in KIND_OF:
            keeper = row_of[mark[KEEPER_ID]]
            removed[keeper].append((mark[DISTANCE], row, KIND_OF[mark[REASON]]))
    asked = [
        section
        for name, kind in KINDS.items()
        for section in both_kept(name, kind.question, similarities, kept)
    ]
    return removed_sections(removed) + asked


def removed_sections(removed: dict[int, list[tuple[int, int, str]]]) -> list[Section]:
    """Return a section for each keeper, with the images that dedupe removed in its favour.

    `removed` holds (distance, row, kind) for each removed image, by the keeper's row."""
    found = []
    for keeper, copies in removed.items():
        copies.sort()
        rows = [keeper, *(row for _, row, _ in copies)]
        notes = [["kept"], *([described(distance, kind, 1)] for distance, _, kind in copies)]
        section = Section(f"{len(copies)} removed", rows, notes, REMOVED, keeper)
        found.append((-copies[-1][0], section))
    return [section for _, section in sorted(found, key=lambda pair: pair[0])]


def both_kept(kind: str, title: str, similarities: Similarities, kept: set[int]) -> list[Section]:
    """Return a section for each group of kept images that are connected by pairs of one kind."""
    own = {
        pair: found
        for pair, found in similarities.items()
        if found[1] == kind and kept.issuperset(pair)
    }
    sections = []
    for rows in groups_of(own):
        notes, farthest = compared(rows, own)
        sections.append((-farthest, Section(f"{len(rows)} similar", rows, notes, title)))
    return [section for _, section in sorted(sections, key=lambda pair: pair[0])]


TAB = Tab(
    key="duplicates",
    title="Near-duplicates",
    sections=sections,
    needs=(dedupe_path, pairs_path),
    command="dvc repro dedupe@{dataset}",
    empty="No duplicates.",
    hint="“Removed”: all but one image of each cluster are removed. “Possible”: all are kept until "
    "somebody decides. Least similar first. “3 bits from 1”: the hashes differ in 3 of 64 bits.",
    layout="clusters",
)
