"""Stage: crawled files, and those that a person put beside them, become samples."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from pipeline.collect.on_dask import pictures_on
from pipeline.core.errors import PipelineError, Rejected, Stage
from pipeline.core.files import write_json
from pipeline.core.params import load_params
from pipeline.core.processes import map_threads
from pipeline.core.progress import Progress
from pipeline.dataset.ingest import IngestedImage, Tally, image_files, ingest_image, utf8_name
from pipeline.dataset.ledger import Attempt, is_licensed, latest_attempts, provenance, read_ledger
from pipeline.dataset.paths import crawl_folder, report_path, samples_path
from pipeline.dataset.rejected import write_rejected
from pipeline.dataset.samples import writing_samples
from pipeline.scale.dask import workers

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


@dataclass(frozen=True)
class Dance:
    """A class and what its crawl knows: how files were stored, by sha256, and who was refused."""

    key: str
    name: str  # for people
    stored: Mapping[str, Attempt]
    refused: tuple[Attempt, ...]


def dance_of(key: str, name: str, attempts: Sequence[Attempt], demanded: Sequence[str]) -> Dance:
    """Sort a ledger's attempts; a URL is refused when the last word on it says so."""
    latest = latest_attempts(attempts, demanded).values()
    refused = tuple(attempt for attempt in latest if attempt.outcome == "refused")
    return Dance(key, name, provenance(attempts, demanded), refused)


@dataclass
class Collection(Tally):
    """What all files came to, what the crawl refused among them."""

    demanded: Sequence[str] = ()  # licences; where there are none, any will do, and none too
    refused: Counter[str] = field(default_factory=Counter)
    engines: Counter[str] = field(default_factory=Counter)
    _first: dict[str, Path] = field(default_factory=dict)  # by sample_id

    def take(
        self, dance: Dance, path: Path, picture: IngestedImage | Rejected
    ) -> dict[str, Any] | None:
        """Return the sample's row, None for a file that is rejected."""
        if isinstance(picture, Rejected):
            self._reject(dance, path, picture)
            return None
        sample_id = f"{dance.key}/{picture.content_id[:16]}"
        first = self._first.setdefault(sample_id, path)
        if first != path:
            self._reject(dance, path, Rejected("same-bytes", f"as {utf8_name(first.name)}"))
            return None
        attempt, notes = dance.stored.get(picture.content_id), []
        if attempt is None and (attempt := dance.stored.get(path.stem)):
            # whoever crops a crawled file and keeps its name keeps where it came from
            notes = ["edited after the crawl"]
        row = {name: getattr(attempt, name, None) for name in PROVENANCE}
        licence = row["licence"]
        if not is_licensed(licence, self.demanded):  # it came before this was demanded
            self._reject(dance, path, Rejected("licence", f"{licence or 'none'} is known of it"))
            return None
        row |= {"label": dance.key, "label_name": dance.name}
        self.engines[row["engine"] or "none"] += 1
        return self.accept(row | picture.columns(sample_id, notes))

    def _reject(self, dance: Dance, path: Path, why: Rejected) -> None:
        attempt = dance.stored.get(path.stem)
        source = attempt.source_url if attempt else utf8_name(path)
        self.reject(f"{dance.key}/{utf8_name(path.name)}", dance.key, why, source)

    def add_refusals(self, dance: Dance) -> None:
        """Add what the crawl refused, so that one list says of every picture why it is not here."""
        told = {row[-1] for row in self.rejected_rows if row[1] == dance.key}
        for attempt in dance.refused:
            if attempt.source_url in told:  # its file is here all the same
                continue
            reason = attempt.reason or "unknown"
            self.refused[reason] += 1
            sample_id = f"{dance.key}/{attempt.sha256[:16]}" if attempt.sha256 else ""
            detail = attempt.detail or ""
            self.rejected_rows.append((sample_id, dance.key, reason, detail, attempt.source_url))

    def report(self) -> dict[str, Any]:
        """Return the metrics."""
        return super().report() | {
            "refused_by_crawl": dict(sorted(self.refused.items())),
            "engines": dict(sorted(self.engines.items())),
        }


@click.command(cls=Stage)
def main() -> None:
    """Turn crawled files into samples.

    Reads data/dances/crawl/<dance>/images/ of every dance in params.yaml. Pictures that you put
    there yourself, under any name, are taken too. Example:

    \b
      python -m pipeline.collect
    """
    params = load_params()
    crawl = crawl_folder(DATASET)
    dances = [
        dance_of(key, dance.label, read_ledger(crawl / key / "ledger.jsonl"), params.crawl.licences)
        for key, dance in sorted(params.dances.items())
    ]
    files = [
        (dance, path) for dance in dances for path in image_files(crawl / dance.key / "images")
    ]
    max_side, max_pixels = params.collect.max_side, params.crawl.max_pixels

    def picture_in(path: Path) -> IngestedImage | Rejected:
        return ingest_image(path.read_bytes(), max_side, max_pixels=max_pixels)

    collection = Collection(
        labels=Counter({dance.key: 0 for dance in dances}), demanded=params.crawl.licences
    )
    paths = [path for _, path in files]
    with (
        workers(params.compute) as cluster,
        writing_samples(samples_path(DATASET)) as writer,
        Progress("collect", len(files)) as progress,
    ):
        if cluster is None:
            pictures = map_threads(picture_in, paths, os.cpu_count() or 1)
        else:
            pictures = pictures_on(cluster, DATASET, paths, max_side, max_pixels)
        for (dance, path), picture in zip(files, pictures, strict=True):
            if row := collection.take(dance, path, picture):
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
    write_json(report_path(DATASET, "collect"), collection.report())
