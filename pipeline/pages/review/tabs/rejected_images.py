"""Rejected: images and files that are in no part of the split, and why."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from pipeline.dataset.columns import CONTENT_ID, CREATOR, ENGINE, LICENCE, PAGE_URL, QUERY
from pipeline.dataset.paths import rejected_path
from pipeline.dataset.rejected import read_rejected
from pipeline.dataset.split_table import OUT
from pipeline.pages.review.rejected_files import attempts_by_url
from pipeline.pages.review.tabs.tab import ReviewData, Section, Tab

OF_ATTEMPT = (QUERY, PAGE_URL, LICENCE, CREATOR, ENGINE, "time")


def sections(data: ReviewData) -> list[Section]:
    """Return samples that the split leaves out and files that never became samples, by reason."""
    row_of = data.row_of()
    out: dict[str, Section] = {}
    for sample_id, (part, reason) in data.parts().items():
        if part == OUT and sample_id in row_of:
            section = out.setdefault(
                reason, Section(f"{reason} (left out of the split)", [], kind=reason)
            )
            section.rows.append(row_of[sample_id])
            section.notes.append([reason, sample_id])
    found = [*out.values(), *file_sections(data)]
    return sorted(found, key=lambda section: -len(section.rows) - len(section.files))


def file_sections(data: ReviewData) -> list[Section]:
    """Return the files of rejected.csv by reason, with the crawl's last attempt at each."""
    rejected_files, attempts = data.rejected_files(), attempts_by_url(data.name)
    files: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in read_rejected(data.name):
        attempt = attempts.get(row.source)
        facts = {name: getattr(attempt, name, None) for name in OF_ATTEMPT}
        files[row.reason].append({**row._asdict(), **facts, CONTENT_ID: rejected_files.find(row)})
    return [
        Section(f"{reason} (never became a sample)", [], kind=reason, files=rows)
        for reason, rows in files.items()
    ]


TAB = Tab(
    key="rejected",
    title="Rejected",
    sections=sections,
    needs=(rejected_path,),
    command="dvc repro",
    empty="Nothing was rejected.",
    hint="Images that are in no part of the split, and why. Keep brings back an image that the "
    "split left out. Nothing can be decided about a file that never became a sample.",
    layout="sections",
    note_lines=(1, 1),
)
