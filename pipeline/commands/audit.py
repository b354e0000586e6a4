"""`kalai audit`: count the held-out images that are also in the training set, for any split."""

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
from pydantic import ValidationError

from pipeline.core.errors import PipelineError, Rejected, Stage
from pipeline.core.files import write_csv
from pipeline.core.params import Dedupe, first_problem, load_params, section
from pipeline.dataset.columns import SAMPLE_ID
from pipeline.dataset.contents import Ints
from pipeline.dataset.dedupe_result import read_dedupe_result
from pipeline.dataset.ingest import image_files, utf8_name
from pipeline.dataset.pairs_table import KINDS, NEAR, SAME
from pipeline.dataset.paths import DATA, missing_file, split_path
from pipeline.dataset.split_table import OUT, read_split
from pipeline.dataset.tables import damaged
from pipeline.dedupe.edges import edges_of
from pipeline.dedupe.hash_cache import BOTH, hash_files
from pipeline.report.wording import counts
from pipeline.split.groups import origins_of
from pipeline.split.leaks import PERHAPS, SAME_BYTES, Audit, residual_method

TRAIN_NAMES = ("train", "training", "trn")  # usual names of the training set's folder
HEADER = ("part", "picture", "kind", "distance", "in_train")
COLUMNS = {  # leak -> its heading, if that differs from the leak's key
    KINDS[NEAR].leak: "near-duplicate",
    PERHAPS: "perhaps near-duplicate",
}


@dataclass(frozen=True)
class Images:
    """The images of a split: their names, their parts, and which of them match."""

    names: list[str]
    part: NDArray[np.str_]
    audit: Audit
    unreadable: dict[str, int]  # number of files by rejection reason


def images_in(folder: Path, *, within: int = 10, perhaps: int = 12, group: str = "") -> Images:
    """Return the images below a folder.

    Each direct subfolder is a part, and its images may lie at any depth.

    Two images are near-duplicates if their 64-bit hashes differ in at most `within` bits, and
    perhaps near-duplicates if they differ in at most `perhaps`. The regex `group` finds an image's
    group in its path below the part. Raises PipelineError if there are no images or an option is
    not valid.
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
    except re.error as error:
        raise PipelineError(f"--group {group}: not a regular expression: {error}") from error
    except ValidationError as error:
        raise PipelineError(f"--within {within}: {first_problem(error)}") from error
    read, unreadable = _read(folder)
    if not read:
        raise PipelineError(f"{folder}: no images found; expected {folder}/<part>/.../<image>")
    parts, names, ids, hashes = zip(*read, strict=True)
    _, first, of = np.unique(np.array(ids), return_index=True, return_inverse=True)
    upright, mirrored = np.array(hashes, np.uint64)[first].T.copy()
    edges = edges_of(upright, mirrored, policy.review_within, within)
    origins = [_numbered([pattern.search(name) for name in names])] if group else []
    return Images(
        [f"{part}/{name}" for part, name in zip(parts, names, strict=True)],
        np.array(parts),
        Audit(of.astype(np.int64), edges, policy, origins),
        unreadable,
    )


Read = tuple[str, str, str, list[int]]  # part, path in it, content id, both hashes


def _read(folder: Path) -> tuple[list[Read], dict[str, int]]:
    """Return the images below each part, and the number of unreadable files by reason."""
    files = [
        (part.name, path)
        for part in sorted(folder.iterdir())
        if part.is_dir() and part.name[0] != "."
        for path in image_files(part)
    ]
    contents, hashes = hash_files([path for _, path in files], BOTH)
    unreadable: Counter[str] = Counter()
    read: list[Read] = []
    for (part, path), (content, _) in zip(files, contents, strict=True):
        found = hashes[content]
        if isinstance(found, Rejected):
            unreadable[found.reason] += 1
        else:
            read.append((part, utf8_name(path.relative_to(folder / part)), content, found))
    return read, dict(sorted(unreadable.items()))


def _numbered(matches: Sequence[re.Match[str] | None]) -> Ints:
    """Give each match a number, and equal texts the same number; no match gets -1."""
    found = [match and (match.group(1) if match.re.groups else match.group()) for match in matches]
    place: dict[str, int] = {}
    return np.array([place.setdefault(name, len(place)) if name else -1 for name in found])


def images_of(dataset: str) -> Images:
    """Return the images of a dataset's own split, grouped by the columns that its params name."""
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
    return Images(names, parts, Audit(marked.contents.of, marked.edges, marked.policy, numbers), {})


def train_part(images: Images, named: str | None) -> str:
    """Return the name of the training set's part: `named`, or the one with a usual name.

    Raises PipelineError if no part or several parts match, or if there is no other part.
    """
    parts = sorted(set(images.part.tolist()) - {OUT})
    found = [part for part in parts if part == named or (not named and part.lower() in TRAIN_NAMES)]
    if len(found) != 1:
        problem = f"no part is named {named}" if named else "cannot tell which part is trained on"
        raise PipelineError(
            f"audit: {problem}; name it with --train; parts with images: {', '.join(parts)}"
        )
    if len(parts) == 1:
        raise PipelineError(f"audit: {found[0]} is the only part with images; nothing to compare")
    return found[0]


def report_of(images: Images, train: str) -> dict[str, Any]:
    """Return image counts, leaked shares of each held-out part, and the limits of the search."""
    is_train = images.part == train
    held_out = {}
    for part in sorted(set(images.part.tolist()) - {train, OUT}):
        here = images.part == part
        held_out[part] = {"pictures": int(here.sum()), **images.audit.shares(is_train, here)}
    return {
        "train": {"part": train, "pictures": int(is_train.sum())},
        "held_out": held_out,
        "unreadable": images.unreadable,
        "residual_method": residual_method(images.audit.policy),
    }


def findings(images: Images, train: str) -> Iterator[tuple[str, str, str, int, str]]:
    """Yield each held-out image that matches a training image, once for each kind of match.

    A row is (part, image, kind, differing bits, nearest image in train). Kinds are `same`, `near`,
    `mirror`, `crop` and `perhaps`.
    """
    of, edges = images.audit.of, images.audit.edges
    is_train = images.part == train
    example = np.full(int(of.max()) + 1, -1)
    rows = np.flatnonzero(is_train)[::-1]
    example[of[rows]] = rows  # for each content, its first image in train
    for row in np.flatnonzero(~is_train & (images.part != OUT)).tolist():
        if example[of[row]] >= 0:
            twin = images.names[example[of[row]]]
            yield str(images.part[row]), images.names[row], SAME, 0, twin
    is_near = edges.near.distance <= images.audit.policy.group_within
    kinds = edges._replace(near=edges.near.where(is_near))._asdict()
    for kind, pairs in {**kinds, PERHAPS: edges.near.where(~is_near)}.items():
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
        for row in np.flatnonzero(~is_train & (images.part != OUT)).tolist():
            if of[row] in nearest:
                bits, twin = nearest[of[row]]
                name = images.names[row]
                yield str(images.part[row]), name, kind, bits, images.names[twin]


def as_text(report: dict[str, Any]) -> str:
    """Return a report as a table of text."""
    kinds = list(next(iter(report["held_out"].values())))[1:]
    header = ["part", "images", *(COLUMNS.get(kind, kind.replace("_", " ")) for kind in kinds)]
    rows = [
        [part, str(found["pictures"]), *(f"{found[kind]:.1%}" for kind in kinds)]
        for part, found in report["held_out"].items()
    ]
    width = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    train = report["train"]
    lines = [
        "  ".join(cell.rjust(room) for cell, room in zip(row, width, strict=True))
        for row in (header, *rows)
    ]
    return "\n".join(
        [
            f"Share of held-out images with a match in {train['part']} ({train['pictures']} "
            "images); lower is better:",
            *lines,
            f"limits: {report['residual_method']}",
            f"unreadable files: {counts(report['unreadable'])}",
        ]
    )


@click.command(cls=Stage)
@click.argument("where")
@click.option(
    "--train", metavar="PART", help="The training set's part. [default: train, training or trn]"
)
@click.option(
    "--within",
    default=10,
    show_default=True,
    metavar="BITS",
    help="Near-duplicates differ in at most so many of 64 hash bits.",
)
@click.option(
    "--group",
    default="",
    metavar="REGEX",
    help="Finds an image's group in its path below the part.",
)
@click.option("--list", "target", type=click.Path(path_type=Path), help="Write the matches as CSV.")
@click.option("--json", "is_json", is_flag=True, help="Print the report as JSON.")
@click.option(
    "--fail-above",
    type=float,
    metavar="SHARE",
    help="Exit with 1 if the share of duplicates in a held-out part is higher, such as 0.01.",
)
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

    WHERE is a dataset of this project, or any folder with one subfolder per part.

    \b
    Examples:
      kalai audit dances
      kalai audit ~/photos --list leaks.csv       ~/photos/train, ~/photos/valid, ...
      kalai audit ~/birds --group "^(.+)_aug"     augmented copies of one image form a group
    """
    images = find_images(where, within, group)
    train = train_part(images, train)
    report = report_of(images, train)
    click.echo(json.dumps(report, indent=2) if is_json else as_text(report))
    if target is not None:
        write_csv(target, HEADER, findings(images, train))
    worst = max(
        found.get(KINDS[NEAR].leak, found[SAME_BYTES]) for found in report["held_out"].values()
    )
    if fail_above is not None and worst > fail_above:
        raise PipelineError(
            f"{worst:.1%} of the images in a held-out part have a duplicate in {train}; "
            f"--fail-above allows {fail_above:.1%}"
        )


def find_images(where: str, within: int, group: str) -> Images:
    """Return the images of a dataset's split, or of a folder.

    Raises PipelineError if `where` is neither.
    """
    if split_path(where).exists():
        return images_of(where)
    if Path(where).is_dir():
        return images_in(Path(where), within=within, group=group)
    if Path(where).name != where or not DATA.is_dir():
        raise PipelineError(f"{where}: folder not found; expected one subfolder per part")
    raise missing_file(split_path(where), "split")
