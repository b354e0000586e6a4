"""What the reports of the data say, as tables: pure functions of their values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.commands.card_markdown import LEAKS
from pipeline.commands.status import share
from pipeline.dataset.paths import CRAWL_REPORT
from pipeline.report.blocks import Block, Cell, Link, Number, Table, Text

Report = Mapping[str, Any]


def counted(caption: str, what: str, counts: Mapping[str, int], better: Any = "") -> list[Block]:
    """Return a table of counts, the largest first; nothing where there is none."""
    found = [(name, Number(count, better=better)) for name, count in counts.items() if count]
    rows = sorted(found, key=lambda row: (-(row[1].value or 0), row[0]))
    return [Table(caption, (what, "pictures"), rows)] if rows else []


def crawled(reports: Mapping[str, Report]) -> list[Block]:
    """Tell what the crawls got, and what was refused in all of them."""
    keys = ("asked", "stored", "duplicates")
    refused: Counter[str] = Counter()
    rows: list[Sequence[Cell]] = []
    for name, report in reports.items():
        refused.update(report["refused"])
        found = [*(report[key] for key in keys), sum(report["refused"].values())]
        rows.append((name.removeprefix(CRAWL_REPORT).removesuffix(".json"), *map(Number, found)))
    header = ("crawl of", "asked for", "stored", "repeated", "refused")
    return [
        Table("Crawled pictures", header, rows),
        *counted("Refused while crawling, by reason", "reason", refused),
    ]


def taken_in(report: Report) -> list[Block]:
    """Tell what became of the files that came: of a crawl, or of folders and tables."""
    rejected = sum(report["rejected"].values())
    rows = [
        ("samples", Number(report["samples"])),
        ("classes", Number(len(report["labels"]))),
        ("rejected", Number(rejected)),
    ]
    return [
        Table("Pictures taken in", ("what", "pictures"), rows),
        *counted("Rejected, by reason", "reason", report["rejected"]),
        *counted("Found by", "engine", report.get("engines", {})),
        *counted("Licences", "licence", report["licences"]),
        *_of_unknown_licence(report["licences"]),
    ]


def _of_unknown_licence(licences: Mapping[str, int]) -> list[Block]:
    if not licences.get("unknown"):
        return []
    return [
        Text(
            f"Of {licences['unknown']} pictures the licence is unknown: they may be looked at "
            "here, and not be published without asking who made them."
        )
    ]


def fetched(report: Report) -> list[Block]:
    """Tell which archives are here, and where they came from."""
    rows: list[Sequence[Cell]] = []
    for name, archive in report.items():
        size = f"{archive['bytes'] / 1e6:.1f} MB"
        rows.append((name, Link(archive["url"], archive["url"]), size, archive["sha256"][:12]))
    return [Table("Archives", ("archive", "source", "size", "sha256 begins"), rows)]


def converted(report: Report) -> list[Block]:
    """Tell what the archives held."""
    rows: list[Sequence[Cell]] = [
        (f"{name} part", *(Number(part[key]) for key in ("samples", "classes", "writers")))
        for name, part in report["parts"].items()
    ]
    rejected: Counter[str] = Counter()
    for part in report["parts"].values():
        rejected.update(part["rejected"])
    return [
        Table("Letters taken in", ("what", "samples", "classes", "known writers"), rows),
        *counted("Rejected, by reason", "reason", rejected),
    ]


def deduped(report: Report) -> list[Block]:
    """Tell what is the same as something else."""
    removed, conflicts = report["removed"], report["conflicts"]
    rows = [
        ("samples", Number(report["samples"])),
        ("kept", Number(report["kept"])),
        ("out: the same bytes as another", Number(removed["same-bytes"])),
        ("out: a near duplicate of another", Number(removed["near-duplicate"])),
        ("out: under two labels, until a person decides", Number(conflicts["samples"])),
        ("clusters of several", Number(report["clusters"]["of_several"])),
        ("samples of the largest cluster", Number(report["clusters"]["largest"])),
    ]
    return [Table("What became of the samples", ("what", "samples"), rows)]


def parted(report: Report) -> list[Block]:
    """Tell the parts, and what leaks between them before and after."""
    counts = ("groups", "classes", "smallest_class")
    rows: list[Sequence[Cell]] = [
        (
            name,
            Number(part["samples"]),
            Number(part["share"], "share"),
            *(Number(part[key]) for key in counts),
        )
        for name, part in report["parts"].items()
    ]
    header = ("part", "samples", "share", *(key.replace("_", " ") for key in counts))
    how = "by chance alone" if report["method"] == "random" else "no group is in two parts"
    return [
        Text(f"Method: {report['method']}; {how}."),
        Table("Parts", header, rows),
        *counted("Out of all parts, by reason", "reason", report["out"]),
    ]


def leaked(report: Report) -> list[Block]:
    """Tell what of the held-out pictures train has seen, in random splits and in this one."""
    leak = report["leak"]
    held = {"publisher": "as published", "valid": "now, valid", "test": "now, test"}
    columns = {"publisher": leak.get("publisher"), **leak["after"]}
    columns = {name: column for name, column in columns.items() if column is not None}
    rows: list[Sequence[Cell]] = []
    for name, before in leak["before"].items():
        random = f"{share(before['mean'])} ± {100 * before['sd']:.1f}"
        cells = [Number(column[name], "share", "lower") for column in columns.values()]
        rows.append((LEAKS.get(name, name.replace("_", " ")), random, *cells))
    header = ("in train there is", "in random splits", *(held[name] for name in columns))
    return [
        Table("Share of the held-out pictures of which train has seen something", header, rows),
        Text(f"What remains unseen: {report['leak']['residual_method']}."),
    ]


def decided(report: Report) -> list[Block]:
    """Tell what decisions the split has applied, and which parts they touch."""
    said = report["decisions"]
    rows = [("pictures decided about", Number(said["pictures"]))]
    rows += [(f"said {name}", Number(count)) for name, count in said.get("by_action", {}).items()]
    rows += [
        (f"that touch the {name} part", Number(count))
        for name, count in said.get("touching", {}).items()
    ]
    rows.append(("about pictures that are not here", Number(said["of_no_sample"])))
    blocks: list[Block] = [Table("Decisions in this split", ("what", "pictures"), rows)]
    if touched := touching_held_out(said):
        blocks.append(
            Text(
                f"{touched} of them touch the validation or test part. Whoever decides there after "
                "seeing what the model got wrong chooses the test, and flatters the model."
            )
        )
    return blocks


def touching_held_out(said: Report) -> int:
    """Return how many decisions touch the parts that judge the model."""
    touching = said.get("touching", {})  # a split of an older version does not say
    return touching.get("valid", 0) + touching.get("test", 0)


def split_at_a_glance(report: Report) -> list[Sequence[Cell]]:
    """Return the rows of a split for the first table of the page."""
    leak = report["leak"]
    kind = "near_duplicate" if "near_duplicate" in leak["before"] else "same_bytes"
    rows: list[Sequence[Cell]] = [
        ("samples in use", Number(sum(part["samples"] for part in report["parts"].values())))
    ]
    for key in (kind, "same_group"):
        had = f"with {LEAKS[key]} in train"
        for name, column in leak["after"].items():
            rows.append((f"of {name}, {had}", Number(column[key], "share", "lower")))
        rows.append((f"of random splits, {had}", Number(leak["before"][key]["mean"], "share")))
    said = report["decisions"]
    rows.append(("pictures that people decided about", Number(said["pictures"])))
    if touched := touching_held_out(said):
        rows.append(("of them, touching valid or test", Number(touched)))
    return rows
