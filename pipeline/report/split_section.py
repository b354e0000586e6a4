"""The report's section about the split: its sets, and what leaks between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.blocks import Block, Cell, Number, Table, Text
from pipeline.report.items import Chart, Definition, Report, counted
from pipeline.report.wording import SETS, leak_name, mean_and_sd, method_line


def divided(report: Mapping[str, Any]) -> list[Block]:
    """Return the method, the size of each set, and how many samples are out for each reason."""
    counts = ("groups", "classes", "smallest_class")
    rows: list[Sequence[Cell]] = [
        (
            SETS[name],
            Number(part["samples"]),
            Number(part["share"], "share"),
            *(Number(part[key]) for key in counts),
        )
        for name, part in report["parts"].items()
    ]
    header = ("set", "samples", "share", "groups", "classes", "smallest class")
    return [
        Text(method_line(report["method"])),
        Table("Sets", header, rows),
        *counted("Left out by reason", "reason", report["out"]),
    ]


def leaked(report: Mapping[str, Any]) -> list[Block]:
    """Return the share of held-out images with a match in the training set, by kind of match."""
    leak = report["leak"]
    columns = {"official split": leak.get("publisher")}
    columns |= {SETS[name]: shares for name, shares in leak["after"].items()}
    found = {name: shares for name, shares in columns.items() if shares is not None}
    rows: list[Sequence[Cell]] = [
        (
            leak_name(key),
            mean_and_sd(random),
            *(Number(shares[key], "share", "lower") for shares in found.values()),
        )
        for key, random in leak["before"].items()
    ]
    caption = "Share of held-out images with a match in the training set (lower is better)"
    return [
        Table(caption, ("match", "random splits", *found), rows),
        Text(f"Limits: {leak['residual_method']}."),
    ]


SPLIT = Definition(
    "split",
    "Split and leaks",
    [
        Report("split.json", divided),
        Report("split.json", leaked),
        Chart("split/classes.png", "Samples of each class by set"),
        Chart("split/groups.png", "Samples of each group by set, the largest group first"),
    ],
)
