"""Stage: images of your own, in folders or named by a table, become samples."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from pipeline.core.errors import PipelineError, Rejected, Stage
from pipeline.core.files import write_json
from pipeline.core.params import Folder, load_params, section
from pipeline.core.processes import map_threads
from pipeline.core.progress import Progress
from pipeline.dataset.columns import GROUP, LABEL, LABEL_NAME, OFFICIAL_PART
from pipeline.dataset.ingest import IngestedImage, Tally, ingest_image, utf8_name
from pipeline.dataset.paths import downloads_folder, report_path, samples_path
from pipeline.dataset.rejected import RejectedRow, write_rejected
from pipeline.dataset.samples import writing_samples
from pipeline.folder.downloads import Downloads
from pipeline.folder.scan import Entry, scan

BYTES_PER_PIXEL = 8  # in the largest file that is opened: 16 bits in four channels, uncompressed


def read(path: Path, params: Folder) -> IngestedImage | Rejected:
    """Return a file's image in the form that samples have, or the reason to reject it."""
    try:
        if path.stat().st_size > BYTES_PER_PIXEL * params.max_pixels:
            return Rejected("too-large", f"{path.stat().st_size} bytes")
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return Rejected("missing", "no such file")
    except (OSError, ValueError) as error:  # no permission, or an impossible file name
        return Rejected("unreadable", str(error))
    return ingest_image(
        data, params.max_side, min_side=params.min_side, max_pixels=params.max_pixels
    )


@dataclass
class FolderTally(Tally):
    """Counts of all listed images, for the report and rejected.csv."""

    from_urls: int = 0
    groups: set[str] = field(default_factory=set)
    official_parts: Counter[str] = field(default_factory=Counter)

    def take(self, entry: Entry, image: IngestedImage | Rejected) -> dict[str, Any] | None:
        """Count an image; return the row of its sample, or None if it is rejected."""
        if isinstance(image, Rejected):
            self.reject(entry.sample_id, entry.label, image, utf8_name(entry.location))
            return None
        row = {LABEL: entry.label, LABEL_NAME: entry.label, **entry.columns}
        self.groups |= {entry.columns[GROUP]} if GROUP in entry.columns else set()
        self.official_parts[entry.columns.get(OFFICIAL_PART, "none")] += 1
        return self.accept(row | image.columns(entry.sample_id))

    def report(self) -> dict[str, Any]:
        """Return the metrics."""
        return super().report() | {
            "groups": len(self.groups),
            "official_parts": dict(sorted(self.official_parts.items())),
            "from_urls": self.from_urls,
        }


@click.command(cls=Stage)
@click.argument("dataset")
def main(dataset: str) -> None:
    """Turn your own images into samples.

    Reads the folder that params.yaml names in folder.DATASET. It has a folder for each class, or a
    table of paths or URLs with labels. URLs are downloaded once and kept. `kalai add-dataset` adds
    a new dataset to params.yaml.

    \b
    Example:
      kalai folder birds
    """
    params = load_params()
    settings: Folder = section(params, "folder", dataset)
    entries = scan(settings)
    downloads = Downloads(downloads_folder(dataset), params.crawl)
    urls = {entry.location for entry in entries if entry.is_url and not entry.refused}
    refused = downloads.fetch(urls)

    def image_of(entry: Entry) -> IngestedImage | Rejected:
        if why := entry.refused or refused.get(entry.location):
            return why
        path = Path(settings.path) / entry.location
        return read(downloads.path(entry.location) if entry.is_url else path, settings)

    tally = FolderTally(from_urls=len(urls - refused.keys()))
    with (
        writing_samples(samples_path(dataset)) as writer,
        Progress("folder", len(entries)) as progress,
    ):
        images = map_threads(image_of, entries, os.cpu_count() or 1)
        for entry, image in zip(entries, images, strict=True):
            if row := tally.take(entry, image):
                writer.add(row)
            progress.advance(note=f"{tally.rejected.total()} rejected")
        if not writer.count:
            raise PipelineError(_no_images(settings, tally))
    write_rejected(dataset, tally.rejected_rows)
    write_json(report_path(dataset, "folder"), tally.report())


def _no_images(settings: Folder, tally: Tally) -> str:
    """Return the error for a run without a single sample, with the most frequent reason."""
    if settings.table:
        expected = f"expected rows with an image and a label in {settings.table}"
    else:
        folders = "/".join(f"<{name}>" for name in settings.layout.split("/"))
        expected = f"expected images in {settings.path}/{folders}/"
    if not tally.rejected_rows:
        return f"{settings.path}: no images; {expected}"
    (reason, count), *_ = tally.rejected.most_common(1)
    rows = (RejectedRow(*row) for row in tally.rejected_rows)
    first = next(row for row in rows if row.reason == reason)
    return (
        f"{settings.path}: no images that can be used; {expected}; "
        f"{count} rejected as {reason}, for example {first.sample_id}: {first.detail}"
    )
