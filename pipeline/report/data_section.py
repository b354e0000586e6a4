"""The report's section about the images: their number at each stage, and examples by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.charts.contact_sheet import pick
from pipeline.dataset.columns import CONTENT_ID, LABEL, SAMPLE_ID
from pipeline.dataset.paths import CRAWL_REPORT, split_path
from pipeline.dataset.split_table import OUT, read_split
from pipeline.report.blocks import Block, Cell, Link, Missing, Number, Table, Text
from pipeline.report.galleries import Data, Planned, Shown
from pipeline.report.items import AnyOf, Definition, Images, Report, counted
from pipeline.report.wording import unknown_licences

CLASSES = 256  # shown at most
PER_CLASS, FEW = 6, 16  # images of a class if there are at most FEW classes; else one


def crawled(reports: Mapping[str, Any]) -> list[Block]:
    """Return what each crawl stored, and the refused downloads of all crawls by reason."""
    refused: Counter[str] = Counter()
    rows: list[Sequence[Cell]] = []
    for name, report in reports.items():
        refused.update(report["refused"])
        numbers = [
            *(report[key] for key in ("asked", "stored", "duplicates")),
            sum(report["refused"].values()),
        ]
        rows.append((name.removeprefix(CRAWL_REPORT).removesuffix(".json"), *map(Number, numbers)))
    header = ("class", "wanted", "stored", "already stored", "refused")
    return [
        Table("Crawled images", header, rows),
        *counted("Refused downloads by reason", "reason", refused),
    ]


def accepted(report: Mapping[str, Any]) -> list[Block]:
    """Return how many files became samples, and the rejected files by reason."""
    rows = [
        ("samples", Number(report["samples"])),
        ("classes", Number(len(report["labels"]))),
        ("rejected files", Number(sum(report["rejected"].values()))),
    ]
    unknown = report["licences"].get("unknown", 0)
    return [
        Table("Samples", ("item", "number"), rows),
        *counted("Rejected files by reason", "reason", report["rejected"]),
        *counted("Search engines", "engine", report.get("engines", {})),
        *counted("Licences", "licence", report["licences"]),
        *([Text(unknown_licences(unknown))] if unknown else []),
    ]


def fetched(report: Mapping[str, Any]) -> list[Block]:
    """Return the verified archives and their sources."""
    rows: list[Sequence[Cell]] = [
        (
            name,
            Link(archive["url"], archive["url"]),
            f"{archive['bytes'] / 1e6:.1f} MB",
            archive["sha256"][:12],
        )
        for name, archive in report.items()
    ]
    return [Table("Archives", ("archive", "source", "size", "start of SHA-256"), rows)]


def converted(report: Mapping[str, Any]) -> list[Block]:
    """Return the samples of each official split, and the rejected files by reason."""
    rows: list[Sequence[Cell]] = [
        (name, *(Number(part[key]) for key in ("samples", "classes", "writers")))
        for name, part in report["parts"].items()
    ]
    rejected: Counter[str] = Counter()
    for part in report["parts"].values():
        rejected.update(part["rejected"])
    header = ("official split", "samples", "classes", "known writers")
    return [
        Table("Converted handwriting", header, rows),
        *counted("Rejected files by reason", "reason", rejected),
    ]


def of_classes(data: Data) -> Planned | Missing:
    """Choose random images of each class, from the samples in use, or from all before the split."""
    if split_path(data.dataset).exists():
        rows = [
            (row.label, row.content_id, row.sample_id)
            for row in read_split(data.dataset)
            if row.part != OUT
        ]
    else:
        rows = [
            (str(row[LABEL]), str(row[CONTENT_ID]), str(row[SAMPLE_ID]))
            for row in data.rows.values()
        ]
    labels = sorted({label for label, _, _ in rows})[:CLASSES]
    known = set(labels)
    picked = pick(
        (row for row in rows if row[0] in known and row[2] in data.rows),
        PER_CLASS if len(labels) <= FEW else 1,
    )
    groups = [
        (data.class_name(label), [Shown(sample_id, "") for sample_id in ids])
        for label, ids in picked.items()
    ]
    return Planned("Random images of each class", groups)


DATA = Definition(
    "data",
    "Data",
    [
        AnyOf(
            [
                Report(f"{CRAWL_REPORT}*.json", crawled),
                Report("collect.json", accepted),
                Report("folder.json", accepted),
                Report("fetch.json", fetched),
                Report("convert.json", converted),
            ],
            "There are no samples yet",
            "dedupe",
        ),
        Images(of_classes),
    ],
)
