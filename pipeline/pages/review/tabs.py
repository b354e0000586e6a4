"""What each tab of the review page shows: which pictures, together with which, and why.

Pure: tables in, sections out. A picture is named by its row among the samples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from pipeline.dataset.ledger import Attempt

KINDS = {"near": "Perhaps the same", "mirror": "Perhaps mirrored", "crop": "Perhaps a crop"}


@dataclass
class Section:
    """Pictures shown together: their rows, a note on each, and which of them is kept.

    `kind` is what the tab can be narrowed to, `suggested` a label for each where there is one.
    """

    title: str
    kind: str
    rows: list[int]
    notes: list[str]
    keeper: int | None = None
    suggested: list[str] | None = None
    refused: list[dict[str, Any]] = field(default_factory=list)  # what is no sample

    def told(self) -> dict[str, Any]:
        """Return the section as JSON holds it."""
        return asdict(self)


@dataclass(frozen=True)
class Bonds:
    """How alike pictures are: (distance in bits, kind) of pairs of rows."""

    of: Mapping[tuple[int, int], tuple[int, str]]

    def between(self, a: int, b: int) -> tuple[int, str] | None:
        """Return the bond of two pictures, in whichever order; None where there is none."""
        return self.of.get((a, b)) or self.of.get((b, a))


def bonds_of(pairs: pa.Table, row_of: Mapping[str, int]) -> Bonds:
    """Read pairs.parquet by rows; pairs of samples that are gone are left out."""
    columns = (pairs[name].to_pylist() for name in ("a", "b", "distance", "kind"))
    return Bonds(
        {
            (row_of[a], row_of[b]): (distance, kind)
            for a, b, distance, kind in zip(*columns, strict=True)
            if a in row_of and b in row_of
        }
    )


def bits(distance: int, kind: str = "near") -> str:
    """Say how far two pictures are apart."""
    if kind == "same":
        return "same bytes"
    if distance < 0:
        return "regions alike"
    return f"{distance} bit{'' if distance == 1 else 's'}" + (" mirrored" * (kind == "mirror"))


def noted(rows: Sequence[int], bonds: Bonds, first: str = "") -> tuple[list[str], int]:
    """Say of each picture how far it is from the nearest before it; return the farthest, too."""
    notes, farthest = [first], 0
    for place, row in enumerate(rows[1:], 1):
        near = [
            (*bond, other + 1)
            for other in range(place)
            if (bond := bonds.between(rows[other], row))
        ]
        if not near:
            notes.append("through others")
            continue
        distance, kind, other = min(near)
        farthest = max(farthest, distance)
        notes.append(f"{bits(distance, kind)} {'as' if kind == 'same' else 'from'} {other}")
    return notes, farthest


def losses_of(predictions: pa.Table, row_of: Mapping[str, int]) -> list[Section]:
    """Return what was predicted, what surprised the model most first."""
    ordered = predictions.sort_by([("loss", "descending"), ("sample_id", "ascending")])
    rows = [row_of[name] for name in ordered["sample_id"].to_pylist() if name in row_of]
    return [Section("", "", rows, [])]


def suspects_of(suspects: pa.Table, row_of: Mapping[str, int]) -> list[Section]:
    """Return the labels that models which never saw them dispute, the surest first."""
    shown = [row for row in suspects.sort_by("rank").to_pylist() if row["sample_id"] in row_of]
    notes = [
        f"{row['suggested_probability']:.0%}, its label {row['label_probability']:.0%}"
        for row in shown
    ]
    rows = [row_of[row["sample_id"]] for row in shown]
    return [Section("", "", rows, notes, suggested=[row["suggested"] for row in shown])]


def conflicts_of(marks: pa.Table, bonds: Bonds, row_of: Mapping[str, int]) -> list[Section]:
    """Return the clusters that hold one picture under two labels or more."""
    together: dict[int, list[int]] = defaultdict(list)
    labels: dict[int, set[str]] = defaultdict(set)
    for mark in marks.to_pylist():
        if mark["status"] == "conflict" and mark["sample_id"] in row_of:
            together[mark["cluster"]].append(row_of[mark["sample_id"]])
            labels[mark["cluster"]].add(mark["label"])
    found = []
    for cluster, rows in together.items():
        notes, _ = noted(rows, bonds)
        title = f"{len(rows)} pictures, {len(labels[cluster])} labels"
        found.append(Section(title, "", rows, notes))
    return sorted(found, key=lambda section: -len(section.rows))


def duplicates_of(marks: pa.Table, bonds: Bonds, row_of: Mapping[str, int]) -> list[Section]:
    """Return what was removed beside its keeper, then what a person is asked about.

    The least alike come first: there the mistakes are.
    """
    kept, stars = set(), defaultdict(list)
    for mark in marks.to_pylist():
        if mark["sample_id"] not in row_of or mark["keeper_id"] not in row_of:
            continue
        row = row_of[mark["sample_id"]]
        if mark["status"] == "keep":
            kept.add(row)
        if mark["reason"] in ("same-bytes", "near-duplicate"):
            kind = "same" if mark["reason"] == "same-bytes" else "near"
            stars[row_of[mark["keeper_id"]]].append((mark["distance"], row, kind))
    removed = []
    for keeper, taken in stars.items():
        taken.sort()
        rows = [keeper, *(row for _, row, _ in taken)]
        notes = ["kept", *(bits(distance, kind) for distance, _, kind in taken)]
        section = Section(f"{len(taken)} removed", "Removed", rows, notes, keeper)
        removed.append((-taken[-1][0], section))
    removed.sort(key=lambda pair: pair[0])
    asked = [section for kind, title in KINDS.items() for section in asks(kind, title, bonds, kept)]
    return [section for _, section in removed] + asked


def asks(kind: str, title: str, bonds: Bonds, kept: set[int]) -> list[Section]:
    """Return the kept pictures that bonds of a kind join, each group together."""
    own = {
        pair: bond
        for pair, bond in bonds.of.items()
        if bond[1] == kind and pair[0] in kept and pair[1] in kept
    }
    found = []
    for rows in joined(own):
        notes, farthest = noted(rows, Bonds(own), "1")
        found.append((-farthest, Section(f"{len(rows)} alike", title, rows, notes)))
    return [section for _, section in sorted(found, key=lambda pair: pair[0])]


def joined(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the groups that pairs join, directly or through others."""
    group: dict[int, list[int]] = {}
    for a, b in pairs:
        one, other = group.setdefault(a, [a]), group.setdefault(b, [b])
        if one is not other:
            one += other
            group.update(dict.fromkeys(other, one))
    return [list(rows) for rows in {id(rows): rows for rows in group.values()}.values()]


def rejected_of(
    rejected: Sequence[Mapping[str, str]],
    attempts: Mapping[str, Attempt],
    picture_of: Callable[[Mapping[str, str]], str | None],
    out: Mapping[str, list[int]],
) -> list[Section]:
    """Return by reason what never became a sample, and which samples (`out`) are in no part.

    `attempts` say by URL how a picture was found; `picture_of` gives the content id of what a row
    of rejected.csv was about, where its file is here.
    """
    refused: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rejected:
        attempt = attempts.get(row["source"])
        told = {
            name: getattr(attempt, name, None)
            for name in ("query", "page_url", "licence", "creator", "engine", "time")
        }
        refused[row["reason"]].append({**row, **told, "content_id": picture_of(row)})
    found = [
        Section(f"{reason}: left out by split", reason, rows, [reason] * len(rows))
        for reason, rows in out.items()
    ]
    found += [
        Section(f"{reason}: never a sample", reason, [], [], refused=rows)
        for reason, rows in refused.items()
    ]
    return sorted(found, key=lambda section: -len(section.rows) - len(section.refused))
