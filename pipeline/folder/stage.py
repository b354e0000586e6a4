"""Stage: pictures of one's own, in folders or by a table of paths and URLs, become samples."""

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
from pipeline.dataset.ingest import IngestedImage, Tally, ingest_image, utf8_name
from pipeline.dataset.paths import downloads_folder, report_path, samples_path
from pipeline.dataset.rejected import write_rejected
from pipeline.dataset.samples import writing_samples
from pipeline.folder.downloads import Downloads
from pipeline.folder.scan import Entry, listed

BYTES_A_PIXEL = 8  # of the largest file that is opened: 16 bits in four channels, uncompressed


def read(path: Path, params: Folder) -> IngestedImage | Rejected:
    """Read a file and bring it to the form of the samples, or say why it has none."""
    try:
        if path.stat().st_size > BYTES_A_PIXEL * params.max_pixels:
            return Rejected("too-large", f"{path.stat().st_size} bytes")
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return Rejected("missing", "no such file")
    except (OSError, ValueError) as error:  # no permission, a name that no file can have
        return Rejected("unreadable", str(error))
    return ingest_image(
        data, params.max_side, min_side=params.min_side, max_pixels=params.max_pixels
    )


@dataclass
class OwnPictures(Tally):
    """What all listed pictures came to."""

    from_urls: int = 0
    groups: set[str] = field(default_factory=set)
    official_parts: Counter[str] = field(default_factory=Counter)

    def take(self, entry: Entry, picture: IngestedImage | Rejected) -> dict[str, Any] | None:
        """Return the sample's row, None for a picture that is rejected."""
        if isinstance(picture, Rejected):
            self.reject(entry.sample_id, entry.label, picture, utf8_name(entry.place))
            return None
        row = {"label": entry.label, "label_name": entry.label, **entry.said}
        self.groups |= {entry.said["group"]} if "group" in entry.said else set()
        self.official_parts[entry.said.get("official_part", "none")] += 1
        return self.accept(row | picture.columns(entry.sample_id))

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
    """Turn pictures of your own into samples.

    Reads the folder that params.yaml names in folder.DATASET: a folder a class, or a table in it
    of paths or URLs with labels. URLs are downloaded once and kept. To begin with a new dataset:
    kalai add-dataset.

    \b
    Example:
      kalai folder birds
    """
    params = load_params()
    chosen = section(params, "folder", dataset)
    entries = listed(chosen)
    downloads = Downloads(downloads_folder(dataset), params.crawl)
    urls = {entry.place for entry in entries if entry.is_url and not entry.refused}
    refused = downloads.fetch(urls)

    def picture_of(entry: Entry) -> IngestedImage | Rejected:
        if why := entry.refused or refused.get(entry.place):
            return why
        place = Path(chosen.path) / entry.place
        return read(downloads.path(entry.place) if entry.is_url else place, chosen)

    own = OwnPictures(from_urls=len(urls - refused.keys()))
    with (
        writing_samples(samples_path(dataset)) as writer,
        Progress("folder", len(entries)) as progress,
    ):
        pictures = map_threads(picture_of, entries, os.cpu_count() or 1)
        for entry, picture in zip(entries, pictures, strict=True):
            if row := own.take(entry, picture):
                writer.add(row)
            progress.advance(note=f"{own.rejected.total()} rejected")
        if not writer.count:
            raise PipelineError(_nothing(chosen, own))
    write_rejected(dataset, own.rejected_rows)
    write_json(report_path(dataset, "folder"), own.report())


def _nothing(params: Folder, tally: Tally) -> str:
    """Say why there is not one sample, by the most common reason."""
    expected = f"in {params.table}" if params.table else f"in {params.layout}/"
    if not tally.rejected_rows:
        return f"{params.path}: no pictures {expected}"
    (reason, count), *_ = tally.rejected.most_common(1)
    name, _, _, detail, _ = next(row for row in tally.rejected_rows if row[2] == reason)
    return f"{params.path}: no pictures {expected}: {count} {reason} ({name}: {detail})"
