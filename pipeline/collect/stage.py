"""Stage: crawled files, and files that you put beside them, become samples."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from pipeline.collect.on_dask import ingest_on
from pipeline.core.errors import PipelineError, Rejected, Stage
from pipeline.core.files import write_json
from pipeline.core.params import load_params
from pipeline.core.processes import map_threads
from pipeline.core.progress import Progress
from pipeline.dataset.columns import (
    ATTRIBUTION,
    CREATOR,
    ENGINE,
    LABEL,
    LABEL_NAME,
    LICENCE,
    LICENCE_URL,
    PAGE_URL,
    QUERY,
    RANK,
    SOURCE_URL,
)
from pipeline.dataset.ingest import IngestedImage, Tally, image_files, ingest_image, utf8_name
from pipeline.dataset.ledger import Attempt, is_licensed, latest_attempts, provenance, read_ledger
from pipeline.dataset.paths import (
    crawl_folder,
    crawl_images_folder,
    ledger_path,
    report_path,
    samples_path,
)
from pipeline.dataset.rejected import RejectedRow, write_rejected
from pipeline.dataset.samples import writing_samples
from pipeline.scale.dask import workers

DATASET = "dances"
# Columns copied from the ledger line of the attempt that stored a file; Attempt has fields of the
# same names.
PROVENANCE = (
    SOURCE_URL,
    PAGE_URL,
    ENGINE,
    QUERY,
    RANK,
    LICENCE,
    LICENCE_URL,
    CREATOR,
    ATTRIBUTION,
)
EDITED = "edited after the crawl"


@dataclass(frozen=True)
class CrawledClass:
    """A class, and what its ledger says about its images."""

    key: str
    name: str  # for people
    stored: Mapping[str, Attempt]  # the attempt that stored an image, by sha256
    refused: tuple[Attempt, ...]  # the latest attempt of each refused URL


def crawled_class(
    key: str, name: str, attempts: Sequence[Attempt], licences: Sequence[str]
) -> CrawledClass:
    """Sort a ledger's attempts into stored and refused ones; `licences` is crawl.licences.

    A URL counts as refused if the latest attempt was refused.
    """
    latest = latest_attempts(attempts, licences).values()
    refused = tuple(attempt for attempt in latest if attempt.outcome == "refused")
    return CrawledClass(key, name, provenance(attempts, licences), refused)


@dataclass
class Collection(Tally):
    """Counts of all files, and of what the crawl refused, for the report and rejected.csv."""

    accepted_licences: Sequence[str] = ()  # empty: any licence, even an unknown one
    refused: Counter[str] = field(default_factory=Counter)
    engines: Counter[str] = field(default_factory=Counter)
    _first: dict[str, Path] = field(default_factory=dict)  # by sample id

    def take(
        self, crawled: CrawledClass, path: Path, image: IngestedImage | Rejected
    ) -> dict[str, Any] | None:
        """Count a file; return the row of its sample, or None if it is rejected."""
        if isinstance(image, Rejected):
            self._reject(crawled, path, image)
            return None
        sample_id = f"{crawled.key}/{image.content_id[:16]}"
        first = self._first.setdefault(sample_id, path)
        if first != path:
            self._reject(crawled, path, Rejected("same-bytes", f"as {utf8_name(first.name)}"))
            return None
        attempt, notes = crawled.stored.get(image.content_id), []
        if attempt is None and (attempt := crawled.stored.get(path.stem)):
            # an edited file that keeps its name keeps its provenance
            notes = [EDITED]
        row = {name: getattr(attempt, name, None) for name in PROVENANCE}
        # crawl.licences may have changed since the crawl
        if not is_licensed(row[LICENCE], self.accepted_licences):
            self._reject(crawled, path, Rejected("licence", row[LICENCE] or "unknown"))
            return None
        row |= {LABEL: crawled.key, LABEL_NAME: crawled.name}
        self.engines[row[ENGINE] or "none"] += 1
        return self.accept(row | image.columns(sample_id, notes))

    def _reject(self, crawled: CrawledClass, path: Path, why: Rejected) -> None:
        attempt = crawled.stored.get(path.stem)
        source = attempt.source_url if attempt else utf8_name(path)
        self.reject(f"{crawled.key}/{utf8_name(path.name)}", crawled.key, why, source)

    def add_refusals(self, crawled: CrawledClass) -> None:
        """Add what the crawl refused, so that rejected.csv has a reason for each lost image."""
        rows = (RejectedRow(*row) for row in self.rejected_rows)
        rejected = {row.source for row in rows if row.label == crawled.key}
        for attempt in crawled.refused:
            if attempt.source_url in rejected:  # its file is here and already has a row
                continue
            reason = attempt.reason or "unknown"
            self.refused[reason] += 1
            self.rejected_rows.append(
                RejectedRow(
                    sample_id=f"{crawled.key}/{attempt.sha256[:16]}" if attempt.sha256 else "",
                    label=crawled.key,
                    reason=reason,
                    detail=attempt.detail or "",
                    source=attempt.source_url,
                )
            )

    def report(self) -> dict[str, Any]:
        """Return the metrics."""
        return super().report() | {
            "refused_by_crawl": dict(sorted(self.refused.items())),
            "engines": dict(sorted(self.engines.items())),
        }


@click.command(cls=Stage)
def main() -> None:
    """Turn crawled files into samples.

    Reads data/dances/crawl/<class>/images/ for each class in params.yaml. You can put your own
    images there, under any name. A file that cannot become a sample is a row of rejected.csv with
    a reason.

    \b
    Example:
      kalai collect
    """
    params = load_params()
    classes = [
        crawled_class(
            key, entry.label, read_ledger(ledger_path(DATASET, key)), params.crawl.licences
        )
        for key, entry in sorted(params.dances.items())
    ]
    files = [
        (crawled, path)
        for crawled in classes
        for path in image_files(crawl_images_folder(DATASET, crawled.key))
    ]
    max_side, max_pixels = params.collect.max_side, params.crawl.max_pixels

    def ingest(path: Path) -> IngestedImage | Rejected:
        return ingest_image(path.read_bytes(), max_side, max_pixels=max_pixels)

    collection = Collection(
        labels=Counter({crawled.key: 0 for crawled in classes}),
        accepted_licences=params.crawl.licences,
    )
    paths = [path for _, path in files]
    with (
        workers(params.compute) as cluster,
        writing_samples(samples_path(DATASET)) as writer,
        Progress("collect", len(files)) as progress,
    ):
        if cluster is None:
            images = map_threads(ingest, paths, os.cpu_count() or 1)
        else:
            images = ingest_on(cluster, DATASET, paths, max_side, max_pixels)
        for (crawled, path), image in zip(files, images, strict=True):
            if row := collection.take(crawled, path, image):
                writer.add(row)
            progress.advance(note=f"{collection.rejected.total()} rejected")
        if not writer.count:
            raise PipelineError(_no_images([crawled.key for crawled in classes], collection))
    for crawled in classes:
        collection.add_refusals(crawled)
    write_rejected(DATASET, collection.rejected_rows)
    write_json(report_path(DATASET, "collect"), collection.report())


def _no_images(keys: Sequence[str], collection: Collection) -> str:
    """Return the error for a run without a single sample."""
    folder = crawl_folder(DATASET)
    reasons = ", ".join(f"{reason} {n}" for reason, n in collection.rejected.most_common())
    rejected = f" ({collection.rejected.total()} rejected: {reasons})" if reasons else ""
    return (
        f"{folder}: no images for {', '.join(keys)}{rejected}; run `dvc repro crawl@<class>`, "
        f"or put your own images into {folder}/<class>/images/"
    )
