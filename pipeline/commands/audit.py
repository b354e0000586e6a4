"""`kalai audit`: what of the held-out pictures is in train too, in anybody's split."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError, Rejected, Stage
from pipeline.core.files import write_csv
from pipeline.core.params import Dedupe, load_params, section
from pipeline.dataset.columns import SAMPLE_ID
from pipeline.dataset.contents import Ints
from pipeline.dataset.dedupe_result import read_dedupe_result
from pipeline.dataset.ingest import picture_files, shown
from pipeline.dataset.pairs_table import Edges
from pipeline.dataset.paths import split_path
from pipeline.dataset.split_table import OUT, read_split
from pipeline.dataset.tables import damaged
from pipeline.dedupe.edges import edges_of
from pipeline.dedupe.hash_cache import BOTH, hash_files
from pipeline.split.groups import origins_of
from pipeline.split.leaks import Audit, residual_method

TRAIN = ("train", "training", "trn")  # what people call it
HEADER = ("part", "picture", "kind", "distance", "in_train")
COLUMNS = {
    "same_bytes": "same bytes",
    "near_duplicate": "near duplicate",
    "mirrored": "mirrored",
    "crop": "crop",
    "same_group": "same group",
    "perhaps": "perhaps",
}


@dataclass(frozen=True)
class Pictures:
    """n pictures of a split that is looked at: their names and parts, and the m contents."""

    names: list[str]
    part: NDArray[np.str_]
    audit: Audit
    unreadable: dict[str, int]  # files by why they could not be read


def pictures_in(folder: Path, *, within: int = 10, perhaps: int = 12, group: str = "") -> Pictures:
    """Read a folder with a folder a part, whatever lies in those.

    `within` and `perhaps` are bits of 64-bit hashes; `group` is a regex that finds a picture's
    provenance in its path inside the part. Raises PipelineError where there is no such folder.
    """
    try:
        pattern = re.compile(group)
        policy = Dedupe(
            method="phash",
            remove_within=min(6, within),
            group_within=within,
            review_within=max(within, perhaps),
            mirror=True,
        )
    except (re.error, ValueError) as error:
        raise PipelineError(f"audit: {error}") from error
    read, unreadable = _read(folder)
    if not read:
        raise PipelineError(f"{folder}: no pictures in folders below it")
    parts, names, ids, hashes = zip(*read, strict=True)
    _, first, of = np.unique(np.array(ids), return_index=True, return_inverse=True)
    upright, mirrored = np.array(hashes, np.uint64)[first].T.copy()
    edges = edges_of(upright, mirrored, policy.review_within, within)
    origins = [_numbered([pattern.search(name) for name in names])] if group else []
    return Pictures(
        [f"{part}/{name}" for part, name in zip(parts, names, strict=True)],
        np.array(parts),
        Audit(of.astype(np.int64), edges, policy, origins),
        unreadable,
    )


Read = tuple[str, str, str, list[int]]  # part, path in it, content id, both hashes


def _read(folder: Path) -> tuple[list[Read], dict[str, int]]:
    """Return the pictures below each part, and how many files could not be read by why."""
    files = [
        (part.name, path)
        for part in sorted(folder.iterdir())
        if part.is_dir() and part.name[0] != "."
        for path in picture_files(part)
    ]
    contents, hashes = hash_files([path for _, path in files], BOTH)
    unreadable: Counter[str] = Counter()
    read: list[Read] = []
    for (part, path), (content, _) in zip(files, contents, strict=True):
        found = hashes[content]
        if isinstance(found, Rejected):
            unreadable[found.reason] += 1
        else:
            read.append((part, shown(path.relative_to(folder / part)), content, found))
    return read, dict(sorted(unreadable.items()))


def _numbered(matches: Sequence[re.Match[str] | None]) -> Ints:
    """Number what was found (the first bracket, or all of it), -1 where nothing was."""
    found = [match and (match.group(1) if match.re.groups else match.group()) for match in matches]
    place: dict[str, int] = {}
    return np.array([place.setdefault(name, len(place)) if name else -1 for name in found])


def pictures_of(dataset: str) -> Pictures:
    """Read a dataset's split as this project made it, by the provenance that its params name."""
    marked = read_dedupe_result(dataset)
    params = section(load_params(), "split", dataset)
    origins = origins_of(marked.samples, params.group_column, params.group_pattern)
    names = marked.samples[SAMPLE_ID].to_pylist()
    part = {row.sample_id: row.part for row in read_split(dataset)}
    missing = set(names) - part.keys()
    if missing:
        raise damaged(split_path(dataset), f"no row for sample {min(missing)}")
    parts = np.array([part[name] for name in names])
    numbers = [origin.number for origin in origins]
    return Pictures(
        names, parts, Audit(marked.contents.of, marked.edges, marked.policy, numbers), {}
    )


def train_part(pictures: Pictures, named: str | None) -> str:
    """Return the name of the part that is trained on.

    Raises PipelineError where it cannot be told or nothing is held out.
    """
    parts = sorted(set(pictures.part.tolist()) - {OUT})
    found = [part for part in parts if part == named or (not named and part.lower() in TRAIN)]
    if len(found) != 1:
        asked = f"no part named {named}" if named else "no one part named train"
        raise PipelineError(f"audit: {asked}; parts with pictures: {', '.join(parts)}; see --train")
    if len(parts) == 1:
        raise PipelineError(f"audit: {found[0]} is the only part with pictures")
    return found[0]


def report_of(pictures: Pictures, train: str) -> dict[str, Any]:
    """Return counts and shares by held-out part, and what no hash can see."""
    is_train = pictures.part == train
    held_out = {}
    for part in sorted(set(pictures.part.tolist()) - {train, OUT}):
        here = pictures.part == part
        held_out[part] = {"pictures": int(here.sum()), **pictures.audit.shares(is_train, here)}
    return {
        "train": {"part": train, "pictures": int(is_train.sum())},
        "held_out": held_out,
        "unreadable": pictures.unreadable,
        "residual_method": residual_method(pictures.audit.policy),
    }


def findings(pictures: Pictures, train: str) -> Iterator[tuple[str, str, str, int, str]]:
    """Give the held-out pictures that have one in train, each with its nearest one of each kind.

    A row is (part, picture, kind, bits apart, the picture in train); kinds are `same`, `near`,
    `mirror`, `crop` and `perhaps`.
    """
    of, edges = pictures.audit.of, pictures.audit.edges
    is_train = pictures.part == train
    example = np.full(int(of.max()) + 1, -1)
    rows = np.flatnonzero(is_train)[::-1]
    example[of[rows]] = rows  # of each content, its first picture in train
    for row in np.flatnonzero(~is_train & (pictures.part != OUT)).tolist():
        if example[of[row]] >= 0:
            twin = pictures.names[example[of[row]]]
            yield str(pictures.part[row]), pictures.names[row], "same", 0, twin
    is_near = edges.near.distance <= pictures.audit.policy.group_within
    kinds = Edges(edges.near.where(is_near), edges.mirror, edges.crop)._asdict()
    for kind, pairs in {**kinds, "perhaps": edges.near.where(~is_near)}.items():
        nearest: dict[int, tuple[int, int]] = {}
        for one, other in ((pairs.a, pairs.b), (pairs.b, pairs.a)):
            in_train = example[other] >= 0
            for content, bits, twin in zip(
                one[in_train].tolist(),
                pairs.distance[in_train].tolist(),
                example[other[in_train]].tolist(),
                strict=True,
            ):
                nearest[content] = min(nearest.get(content, (65, -1)), (bits, twin))
        for row in np.flatnonzero(~is_train & (pictures.part != OUT)).tolist():
            if of[row] in nearest:
                bits, twin = nearest[of[row]]
                name = pictures.names[row]
                yield str(pictures.part[row]), name, kind, bits, pictures.names[twin]


def as_text(report: dict[str, Any]) -> str:
    """Return a report as a table for people."""
    searched = list(next(iter(report["held_out"].values())))[1:]
    header = ["part", "pictures", *(COLUMNS[name] for name in searched)]
    rows = [
        [part, str(found["pictures"]), *(f"{found[name]:.1%}" for name in searched)]
        for part, found in report["held_out"].items()
    ]
    width = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    train = report["train"]
    lines = [
        "  ".join(cell.rjust(room) for cell, room in zip(row, width, strict=True))
        for row in (header, *rows)
    ]
    unread = ", ".join(f"{count} {reason}" for reason, count in report["unreadable"].items())
    return "\n".join(
        [
            f"Of the held-out pictures, the share that {train['part']} ({train['pictures']} "
            "pictures) holds too:",
            *lines,
            f"not seen: {report['residual_method']}",
            *([f"not read: {unread}"] if unread else []),
        ]
    )


@click.command(cls=Stage)
@click.argument("where")
@click.option("--train", help="The part that is trained on, where it is not called train.")
@click.option("--within", default=10, show_default=True, help="Bits up to which two are the same.")
@click.option("--group", default="", help="Regex: a picture's provenance in its path.")
@click.option("--list", "target", type=click.Path(path_type=Path), help="Write the pairs as CSV.")
@click.option("--json", "is_json", is_flag=True, help="Print the report as JSON.")
@click.option("--fail-above", type=float, help="Exit with 1 when a share of duplicates is above.")
def main(
    where: str,
    *,
    train: str | None,
    within: int,
    group: str,
    target: Path | None,
    is_json: bool,
    fail_above: float | None,
) -> None:
    """Measure what leaks between the parts of a split.

    WHERE is a dataset of this project, or any folder with a folder a part.

    \b
    Examples:
      kalai audit dances
      kalai audit ~/photos --list leaks.csv       ~/photos/train, ~/photos/valid, ...
      kalai audit ~/birds --group "^(.+)_aug"     what one original became stays together
    """
    folder = Path(where)
    if (split_path(where)).exists():
        pictures = pictures_of(where)
    elif folder.is_dir():
        pictures = pictures_in(folder, within=within, group=group)
    else:
        raise PipelineError(f"{where}: neither a folder nor a dataset with a split")
    train = train_part(pictures, train)
    report = report_of(pictures, train)
    click.echo(json.dumps(report, indent=2) if is_json else as_text(report))
    if target is not None:
        write_csv(target, HEADER, findings(pictures, train))
    worst = max(
        found.get("near_duplicate", found["same_bytes"]) for found in report["held_out"].values()
    )
    if fail_above is not None and worst > fail_above:
        raise PipelineError(f"{worst:.1%} of a held-out part is in {train}, above {fail_above:.1%}")
