"""The report's section about duplicates: counts, and pairs of each kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.charts.pair_sheet import KINDS, pairs_by_kind
from pipeline.dataset.dedupe_result import NEAR_DUPLICATE, SAME_BYTES
from pipeline.dataset.paths import dedupe_path, pairs_path
from pipeline.report.blocks import Block, Missing, Number, Table
from pipeline.report.galleries import Data, Planned, Shown
from pipeline.report.items import Definition, Images, Report

PAIRS = 6  # of each kind


def deduped(report: Mapping[str, Any]) -> list[Block]:
    """Return how many samples are kept, removed and in conflict."""
    removed = report["removed"]
    rows = [
        ("samples", Number(report["samples"])),
        ("kept", Number(report["kept"])),
        ("removed: identical to another image", Number(removed[SAME_BYTES])),
        ("removed: near-duplicate of another image", Number(removed[NEAR_DUPLICATE])),
        ("left out: label conflict, to be reviewed", Number(report["conflicts"]["samples"])),
        ("clusters of two or more samples", Number(report["clusters"]["of_several"])),
        ("samples in the largest cluster", Number(report["clusters"]["largest"])),
    ]
    return [Table("Result of the search for duplicates", ("item", "number"), rows)]


def of_duplicates(data: Data) -> Planned | Missing:
    """Choose the pairs to show: some of each kind, the least similar first."""
    if not (dedupe_path(data.dataset).exists() and pairs_path(data.dataset).exists()):
        return Missing(
            "Duplicates have not been searched for yet", f"dvc repro dedupe@{data.dataset}"
        )
    groups = []
    for kind, pairs in pairs_by_kind(data.dataset).items():
        for first, second, bits in pairs[:PAIRS]:
            distance = f", {bits} of 64 hash bits differ" if bits >= 0 else ""
            both = [Shown(sample_id, data.name_of(sample_id)) for sample_id in (first, second)]
            groups.append((f"{KINDS[kind]}{distance}", both))
    return Planned("Pairs of similar images, the least similar first", groups)


DUPLICATES = Definition(
    "duplicates", "Duplicates", [Report("dedupe.json", deduped), Images(of_duplicates)]
)
