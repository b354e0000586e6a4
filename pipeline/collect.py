"""Stage: crawled files, and those that a person put beside them, become samples."""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click

from pipeline.errors import PipelineError, Rejected, Stage
from pipeline.files import write_json
from pipeline.images import EXTENSIONS, Normalised, content_id, normalise
from pipeline.ledger import Attempt, read_ledger
from pipeline.params import load_params
from pipeline.progress import Progress
from pipeline.samples import (
    dataset_folder,
    reports_folder,
    samples_path,
    write_rejected,
    writing_samples,
)

DATASET = "dances"
PROVENANCE = (  # columns that come from the ledger line by which a file was stored
    "source_url",
    "page_url",
    "engine",
    "query",
    "rank",
    "licence",
    "licence_url",
    "creator",
    "attribution",
)
In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class Dance:
    """A class and what its crawl knows: how files were stored, by sha256, and who was refused."""

    key: str
    name: str  # for people
    stored: Mapping[str, Attempt]
    refused: tuple[Attempt, ...]


def dance_of(key: str, name: str, attempts: Iterable[Attempt]) -> Dance:
    """Sort a ledger's attempts; a URL is refused when the last word on it says so."""
    stored: dict[str, Attempt] = {}
    latest: dict[str, Attempt] = {}
    for attempt in attempts:
        if attempt.outcome == "stored" and attempt.sha256:
            stored.setdefault(attempt.sha256, attempt)
        if attempt.outcome != "retry":
            latest[attempt.source_url] = attempt
    refused = tuple(attempt for attempt in latest.values() if attempt.outcome == "refused")
    return Dance(key, name, stored, refused)


@dataclass(frozen=True)
class Judged:
    """A dance's file: a picture in the form of the samples, or why it is none."""

    dance: Dance
    path: Path
    content_id: str
    size: int  # bytes of the file
    picture: Normalised | Rejected

    @property
    def sample_id(self) -> str:
        """The dance and the first 64 bits of the file's sha256."""
        return f"{self.dance.key}/{self.content_id[:16]}"


def judge(dance: Dance, path: Path, max_side: int, max_pixels: int) -> Judged:
    """Read a file, verify it and bring it to the form of the samples."""
    data = path.read_bytes()
    picture: Normalised | Rejected
    try:
        picture = normalise(data, max_side, max_pixels=max_pixels)
    except Rejected as refusal:
        picture = refusal
    return Judged(dance, path, content_id(data), len(data), picture)


@dataclass
class Collection:
    """What all files came to: counts for the report and a row for each that was rejected."""

    rejected_rows: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    engines: Counter[str] = field(default_factory=Counter)
    _first: dict[str, Path] = field(default_factory=dict)  # by sample_id

    def take(self, file: Judged) -> dict[str, Any] | None:
        """Return the sample's row, None for a file that is rejected."""
        first = self._first.setdefault(file.sample_id, file.path)
        if isinstance(file.picture, Rejected):
            self._reject(file, file.picture)
            return None
        if first != file.path:
            self._reject(file, Rejected("same-bytes", f"as {_shown(first.name)}"))
            return None
        attempt, notes = file.dance.stored.get(file.content_id), file.picture.notes
        if attempt is None and (attempt := file.dance.stored.get(file.path.stem)):
            # whoever crops a crawled file and keeps its name keeps where it came from
            notes = (*notes, "edited after the crawl")
        self.labels[file.dance.key] += 1
        self.notes.update(re.sub(r"\d+", "N", note) for note in notes)
        self.licences[(attempt and attempt.licence) or "unknown"] += 1
        self.engines[(attempt and attempt.engine) or "none"] += 1
        return _row(file, file.picture, attempt, notes)

    def _reject(self, file: Judged, why: Rejected) -> None:
        self.rejected[why.reason] += 1
        name, key = _shown(file.path.name), file.dance.key
        attempt = file.dance.stored.get(file.path.stem)
        source = attempt.source_url if attempt else _shown(file.path)
        self.rejected_rows.append((f"{key}/{name}", key, why.reason, why.detail, source))

    def add_refusals(self, dance: Dance) -> None:
        """Add what the crawl refused, so that one list says of every picture why it is not here."""
        for attempt in dance.refused:
            reason = attempt.reason or "unknown"
            self.refused[reason] += 1
            sample_id = f"{dance.key}/{attempt.sha256[:16]}" if attempt.sha256 else ""
            detail = attempt.detail or ""
            self.rejected_rows.append((sample_id, dance.key, reason, detail, attempt.source_url))

    def report(self) -> dict[str, Any]:
        """Return the metrics."""
        return {
            "samples": self.labels.total(),
            "labels": dict(self.labels),
            "rejected": dict(sorted(self.rejected.items())),
            "refused_by_crawl": dict(sorted(self.refused.items())),
            "notes": dict(sorted(self.notes.items())),
            "licences": dict(sorted(self.licences.items())),
            "engines": dict(sorted(self.engines.items())),
        }


def _row(
    file: Judged, picture: Normalised, attempt: Attempt | None, notes: Iterable[str]
) -> dict[str, Any]:
    return {name: getattr(attempt, name, None) for name in PROVENANCE} | {
        "sample_id": file.sample_id,
        "content_id": file.content_id,
        "image": {"bytes": picture.data, "path": file.sample_id + EXTENSIONS[picture.format]},
        "label": file.dance.key,
        "label_name": file.dance.name,
        "width": picture.width,
        "height": picture.height,
        "original_width": picture.info.width,
        "original_height": picture.info.height,
        "original_bytes": file.size,
        "original_format": picture.info.format,
        "notes": "; ".join(notes) or None,
    }


def picture_files(folder: Path) -> list[Path]:
    """Return the files under a folder in order of their paths, without the hidden ones."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not any(part[0] == "." for part in path.relative_to(folder).parts)
    )


def in_order(function: Callable[[In], Out], items: Iterable[In], threads: int) -> Iterator[Out]:
    """Map with threads, in the order of `items`, holding few results at a time."""
    ahead: deque[Future[Out]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                ahead.append(pool.submit(function, item))
                if len(ahead) > 4 * threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


def _shown(name: object) -> str:
    """Return a file's name in valid UTF-8, whatever bytes it has."""
    return os.fsencode(str(name)).decode("utf-8", "replace")


@click.command(cls=Stage)
def main() -> None:
    """Turn crawled files into samples.

    Reads data/dances/crawl/<dance>/images/ of every dance in params.yaml. Pictures that you put
    there yourself, under any name, are taken too. Example:

    \b
      python -m pipeline.collect
    """
    params = load_params()
    crawl = dataset_folder(DATASET) / "crawl"
    dances = [
        dance_of(key, dance.label, read_ledger(crawl / key / "ledger.jsonl"))
        for key, dance in sorted(params.dances.items())
    ]
    files = [
        (dance, path) for dance in dances for path in picture_files(crawl / dance.key / "images")
    ]
    judged = partial(judge, max_side=params.collect.max_side, max_pixels=params.crawl.max_pixels)
    collection = Collection(labels=Counter({dance.key: 0 for dance in dances}))
    with (
        writing_samples(samples_path(DATASET)) as writer,
        Progress("collect", len(files)) as progress,
    ):
        for file in in_order(lambda item: judged(*item), files, os.cpu_count() or 1):
            if row := collection.take(file):
                writer.add(row)
            progress.advance(note=f"{collection.rejected.total()} rejected")
        if not writer.count:
            keys = ", ".join(dance.key for dance in dances)
            raise PipelineError(
                f"{crawl}: no pictures of {keys}; crawl some, or put some into <dance>/images/"
            )
    for dance in dances:
        collection.add_refusals(dance)
    write_rejected(DATASET, collection.rejected_rows)
    write_json(reports_folder(DATASET) / "collect.json", collection.report())


if __name__ == "__main__":
    main()
