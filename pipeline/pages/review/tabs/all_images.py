"""All images, by class."""

from __future__ import annotations

from collections import defaultdict

from pipeline.dataset.columns import LABEL
from pipeline.dataset.paths import samples_path
from pipeline.pages.review.tabs.tab import ReviewData, Section, Tab, display_name


def sections(data: ReviewData) -> list[Section]:
    """Return a section for each class, in the order of the labels."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, label in enumerate(data.samples()[LABEL].to_pylist()):
        rows[label].append(row)
    names = data.class_names()
    return [Section(display_name(names[label]), rows[label]) for label in sorted(rows)]


TAB = Tab(
    key="all",
    title="All",
    sections=sections,
    needs=(samples_path,),
    command="dvc repro",
    empty="No images yet.",
    missing="No images yet.",
    layout="sections",
)
