"""Label conflicts: one image under two or more labels."""

from __future__ import annotations

from collections import defaultdict

from pipeline.dataset.columns import CLUSTER, LABEL, SAMPLE_ID, STATUS
from pipeline.dataset.dedupe_result import CONFLICT, read_marks
from pipeline.dataset.paths import dedupe_path, pairs_path
from pipeline.pages.review.tabs.similarity import compared, read_similarities
from pipeline.pages.review.tabs.tab import ReviewData, Section, Tab


def sections(data: ReviewData) -> list[Section]:
    """Return a section for each cluster whose labels conflict, the largest first."""
    row_of = data.row_of()
    similarities = read_similarities(data.name, row_of)
    rows: dict[int, list[int]] = defaultdict(list)
    labels: dict[int, list[str]] = defaultdict(list)
    for mark in read_marks(data.name, [SAMPLE_ID, STATUS, CLUSTER, LABEL]).to_pylist():
        if mark[STATUS] == CONFLICT and mark[SAMPLE_ID] in row_of:
            rows[mark[CLUSTER]].append(row_of[mark[SAMPLE_ID]])
            labels[mark[CLUSTER]].append(mark[LABEL])
    found = []
    for cluster, together in rows.items():
        notes, _ = compared(together, similarities)
        title = f"{len(together)} images, {len(set(labels[cluster]))} labels"
        found.append(Section(title, together, notes, suggested=labels[cluster]))
    return sorted(found, key=lambda section: -len(section.rows))


TAB = Tab(
    key="conflicts",
    title="Label conflicts",
    sections=sections,
    needs=(dedupe_path, pairs_path),
    command="dvc repro dedupe@{dataset}",
    empty="No label conflicts: no image has two labels.",
    hint="An image with two labels is left out until somebody decides. S gives every image of the "
    "cluster the class of the current image.",
    layout="clusters",
    suggestion="Use this class",
    is_for_cluster=True,
)
