"""Stage: pictures of one's own, in folders or by a table of paths and URLs, become samples."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import click

from pipeline.downloads import Downloads
from pipeline.errors import PipelineError, Rejected, Stage
from pipeline.files import write_json
from pipeline.intake import Picture, Tally, in_order, shown, take_in
from pipeline.listing import Entry, listed
from pipeline.params import Folder, load_params, section
from pipeline.progress import Progress
from pipeline.samples import (
    dataset_folder,
    reports_folder,
    samples_path,
    write_rejected,
    writing_samples,
)

BYTES_A_PIXEL = 8  # of the largest file that is opened: 16 bits in four channels, uncompressed


def read(path: Path, params: Folder) -> Picture | Rejected:
    """Read a file and bring it to the form of the samples, or say why it has none."""
    try:
        if path.stat().st_size > BYTES_A_PIXEL * params.max_pixels:
            return Rejected("too-large", f"{path.stat().st_size} bytes")
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return Rejected("missing", "no such file")
    except (OSError, ValueError) as error:  # no permission, a name that no file can have
        return Rejected("unreadable", str(error))
    return take_in(data, params.max_side, min_side=params.min_side, max_pixels=params.max_pixels)


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
    chosen = section(params.folder, dataset, "folder")
    entries = listed(chosen)
    downloads = Downloads(dataset_folder(dataset) / "downloads", params.crawl)
    urls = {entry.place for entry in entries if entry.is_url and not entry.refused}
    refused = downloads.fetch(urls)

    def picture_of(entry: Entry) -> Picture | Rejected:
        if why := entry.refused or refused.get(entry.place):
            return why
        root = Path(chosen.path)
        return read(downloads.path(entry.place) if entry.is_url else root / entry.place, chosen)

    tally, groups, parts = Tally(), set(), Counter[str]()
    with (
        writing_samples(samples_path(dataset)) as writer,
        Progress("folder", len(entries)) as progress,
    ):
        pictures = in_order(picture_of, entries, os.cpu_count() or 1)
        for entry, picture in zip(entries, pictures, strict=True):
            if isinstance(picture, Rejected):
                tally.reject(entry.sample_id, entry.label, picture, shown(entry.place))
            else:
                row = tally.accept(_row(entry, picture))
                groups.add(row.get("group"))
                parts[row.get("official_part") or "none"] += 1
                writer.add(row)
            progress.advance(note=f"{tally.rejected.total()} rejected")
        if not writer.count:
            raise PipelineError(_nothing(chosen, tally))
    write_rejected(dataset, tally.rejected_rows)
    report = tally.report() | {
        "groups": len(groups - {None}),
        "official_parts": dict(sorted(parts.items())),
        "from_urls": len(urls - refused.keys()),
    }
    write_json(reports_folder(dataset) / "folder.json", report)


def _row(entry: Entry, picture: Picture) -> dict[str, Any]:
    about = {"label": entry.label, "label_name": entry.label}
    return about | dict(entry.said) | picture.columns(entry.sample_id)


def _nothing(params: Folder, tally: Tally) -> str:
    """Say why there is not one sample, by the most common reason."""
    expected = f"in {params.table}" if params.table else f"in {params.layout}/"
    if not tally.rejected_rows:
        return f"{params.path}: no pictures {expected}"
    (reason, count), *_ = tally.rejected.most_common(1)
    name, _, _, detail, _ = next(row for row in tally.rejected_rows if row[2] == reason)
    return f"{params.path}: no pictures {expected}: {count} {reason} ({name}: {detail})"


if __name__ == "__main__":
    main()
