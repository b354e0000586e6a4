"""Suspects: labels that are confidently disputed by models trained on other folds."""

from __future__ import annotations

from pipeline.dataset.columns import (
    LABEL,
    LABEL_PROBABILITY,
    RANK,
    SAMPLE_ID,
    SUGGESTED,
    SUGGESTED_PROBABILITY,
)
from pipeline.dataset.paths import suspects_path
from pipeline.dataset.suspects_table import read_suspects
from pipeline.pages.review.index import PART_NAMES
from pipeline.pages.review.tabs.tab import ReviewData, Section, Tab, display_name


def sections(data: ReviewData) -> list[Section]:
    """Return one section, the most suspicious label first."""
    row_of, names, parts = data.row_of(), data.class_names(), data.parts()
    found = Section("", [], suggested=[])
    assert found.suggested is not None
    for suspect in read_suspects(data.name).sort_by(RANK).to_pylist():
        sample_id = suspect[SAMPLE_ID]
        if sample_id in row_of:
            part, _ = parts.get(sample_id, ("", ""))
            predicted = display_name(names[suspect[SUGGESTED]])
            labelled = display_name(names[suspect[LABEL]])
            found.rows.append(row_of[sample_id])
            found.suggested.append(suspect[SUGGESTED])
            found.notes.append(
                [
                    f"predicted {predicted}, {suspect[SUGGESTED_PROBABILITY]:.0%} "
                    f"(labelled {labelled}, {suspect[LABEL_PROBABILITY]:.0%})",
                    PART_NAMES.get(part, part),
                ]
            )
    return [found]


TAB = Tab(
    key="suspects",
    title="Suspects",
    sections=sections,
    needs=(suspects_path,),
    command="kalai suspects {dataset}",
    empty="No suspicious labels.",
    hint="Labels that a model confidently disputes, although it was not trained on the image. The "
    "most suspicious come first.",
    note_lines=(3, 1),
)
