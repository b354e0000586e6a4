"""Intake: from a file's bytes to a row of the border, the same at every door for pictures."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import Rejected
from pipeline.images.normalise import EXTENSIONS, MAX_PIXELS, Normalised, content_id, normalise


@dataclass(frozen=True)
class IngestedImage:
    """A picture in the form of the samples, and what identifies the file it came from."""

    content_id: str
    size: int  # bytes of the file
    normalised: Normalised

    def columns(self, sample_id: str, notes: Iterable[str] = ()) -> dict[str, Any]:
        """Return what the border wants to know of the picture itself; `notes` follow its own."""
        picture = self.normalised
        extension = EXTENSIONS[picture.format]
        path = sample_id if sample_id.endswith(extension) else sample_id + extension
        return {
            "sample_id": sample_id,
            "content_id": self.content_id,
            "image": {"bytes": picture.data, "path": path},
            "width": picture.width,
            "height": picture.height,
            "original_width": picture.info.width,
            "original_height": picture.info.height,
            "original_bytes": self.size,
            "original_format": picture.info.format,
            "notes": "; ".join([*picture.notes, *notes]) or None,
        }


def ingest_image(
    data: bytes, max_side: int, *, min_side: int = 1, max_pixels: int = MAX_PIXELS
) -> IngestedImage | Rejected:
    """Verify a file and bring it to the form of the samples, or say why it has none.

    The verdict is returned, not raised, so that a pool of threads passes it on like a picture.
    """
    try:
        picture = normalise(data, max_side, min_side=min_side, max_pixels=max_pixels)
    except Rejected as refusal:
        return refusal
    return IngestedImage(content_id(data), len(data), picture)


@dataclass
class Tally:
    """What the files of a door came to: counts for its report, a row for each rejected one."""

    rejected_rows: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    labels: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)

    def accept(self, row: dict[str, Any]) -> dict[str, Any]:
        """Count a sample's row and return it."""
        self.labels[row["label"]] += 1
        notes = (row["notes"] or "").split("; ") if row["notes"] else []
        self.notes.update(re.sub(r"\d+", "N", note) for note in notes)
        self.licences[row.get("licence") or "unknown"] += 1
        return row

    def reject(self, sample_id: str, label: str, why: Rejected, source: str) -> None:
        """Count a rejection and keep its row."""
        self.rejected[why.reason] += 1
        self.rejected_rows.append((sample_id, label, why.reason, why.detail, source))

    def report(self) -> dict[str, Any]:
        """Return the metrics: stable counts."""
        return {
            "samples": self.labels.total(),
            "labels": dict(sorted(self.labels.items())),
            "rejected": dict(sorted(self.rejected.items())),
            "notes": dict(sorted(self.notes.items())),
            "licences": dict(sorted(self.licences.items())),
        }


def image_files(folder: Path) -> list[Path]:
    """Return the files under a folder in order of their paths, without the hidden ones."""
    return [path for path in files_and_links(folder) if path.is_file()]


def files_and_links(folder: Path) -> list[Path]:
    """Return what lies under a folder, links that lead to no file too; hidden ones are left out.

    Links to folders are not followed: DVC does not, so it would not see what changes there.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if (path.is_file() or path.is_symlink())
        and not any(part[0] == "." for part in path.relative_to(folder).parts)
    )


def utf8_name(name: object) -> str:
    """Return a file's name in valid UTF-8, whatever bytes it has."""
    return os.fsencode(str(name)).decode("utf-8", "replace")
