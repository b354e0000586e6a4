"""Turn the bytes of image files into rows of samples.parquet, for every source of images."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import Rejected
from pipeline.dataset.columns import (
    CONTENT_ID,
    HEIGHT,
    IMAGE,
    LABEL,
    LICENCE,
    NOTES,
    ORIGINAL_BYTES,
    ORIGINAL_FORMAT,
    ORIGINAL_HEIGHT,
    ORIGINAL_WIDTH,
    SAMPLE_ID,
    WIDTH,
)
from pipeline.dataset.rejected import RejectedRow
from pipeline.images.decode import EXTENSIONS, MAX_PIXELS
from pipeline.images.normalise import Normalised, content_id, normalise


@dataclass(frozen=True)
class IngestedImage:
    """A normalised image, and the content id and the size of its file."""

    content_id: str
    size: int  # bytes of the file
    normalised: Normalised

    def columns(self, sample_id: str, notes: Iterable[str] = ()) -> dict[str, Any]:
        """Return the columns of samples.parquet that describe the image, by name.

        `notes` are added to the notes from the normalisation.
        """
        image = self.normalised
        extension = EXTENSIONS[image.format]
        path = sample_id if sample_id.endswith(extension) else sample_id + extension
        return {
            SAMPLE_ID: sample_id,
            CONTENT_ID: self.content_id,
            IMAGE: {"bytes": image.data, "path": path},
            WIDTH: image.width,
            HEIGHT: image.height,
            ORIGINAL_WIDTH: image.info.width,
            ORIGINAL_HEIGHT: image.info.height,
            ORIGINAL_BYTES: self.size,
            ORIGINAL_FORMAT: image.info.format,
            NOTES: "; ".join([*image.notes, *notes]) or None,
        }


def ingest_image(
    data: bytes, max_side: int, *, min_side: int = 1, max_pixels: int = MAX_PIXELS
) -> IngestedImage | Rejected:
    """Return a file's bytes as a verified and normalised image, or the reason to reject it.

    The rejection is returned, not raised, so that `map_threads` goes on with the other files.
    """
    try:
        image = normalise(data, max_side, min_side=min_side, max_pixels=max_pixels)
    except Rejected as rejection:
        return rejection
    return IngestedImage(content_id(data), len(data), image)


@dataclass
class Tally:
    """Counts of accepted and rejected files for a stage's report, and the rows of rejected.csv."""

    rejected_rows: list[RejectedRow] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)

    def accept(self, row: dict[str, Any]) -> dict[str, Any]:
        """Count a sample's row and return it."""
        self.labels[row[LABEL]] += 1
        notes = row[NOTES].split("; ") if row[NOTES] else []
        self.notes.update(re.sub(r"\d+", "N", note) for note in notes)
        self.licences[row.get(LICENCE) or "unknown"] += 1
        return row

    def reject(self, sample_id: str, label: str, why: Rejected, source: str) -> None:
        """Count a rejection and add its row; `source` is a URL, a path or a member's name."""
        self.rejected[why.reason] += 1
        self.rejected_rows.append(RejectedRow(sample_id, label, why.reason, why.detail, source))

    def report(self) -> dict[str, Any]:
        """Return the counts by label, reason, note and licence, sorted by name."""
        return {
            "samples": self.labels.total(),
            "labels": dict(sorted(self.labels.items())),
            "rejected": dict(sorted(self.rejected.items())),
            "notes": dict(sorted(self.notes.items())),
            "licences": dict(sorted(self.licences.items())),
        }


def image_files(folder: Path) -> list[Path]:
    """Return the files below a folder, sorted by path, without hidden ones."""
    return [path for path in files_and_links(folder) if path.is_file()]


def files_and_links(folder: Path) -> list[Path]:
    """Return the files and broken links below a folder, sorted by path, without hidden ones.

    Links to folders are not followed: DVC does not follow them and would miss changes there.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if (path.is_file() or path.is_symlink())
        and not any(part[0] == "." for part in path.relative_to(folder).parts)
    )


def utf8_name(name: object) -> str:
    """Return a file's name as valid UTF-8; other bytes become U+FFFD."""
    return os.fsencode(str(name)).decode("utf-8", "replace")
