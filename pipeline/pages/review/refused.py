"""Files that never became samples, where they are still here: found, named by content, shown."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.core.errors import Rejected
from pipeline.core.files import sha256_of
from pipeline.core.params import Params
from pipeline.dataset.ledger import Attempt, read_ledger
from pipeline.dataset.paths import crawl_folder, dataset_folder
from pipeline.images.normalise import normalise

MAX_BYTES = 50_000_000  # a larger file is not looked into
Row = Mapping[str, str]  # of rejected.csv


class Refused:
    """The files behind rows of rejected.csv, by content id: none but these is ever opened."""

    def __init__(self, dataset: str, params: Params) -> None:
        self._folder = dataset_folder(dataset)
        self._own = params.folder.get(dataset)
        self._paths: dict[str, Path] = {}

    def find(self, row: Row) -> str | None:
        """Return the content id of a row's file, None where it has none here."""
        for root, name in self._candidates(row):
            with suppress(OSError, ValueError):  # a name that no file can have
                path = (root / name).resolve()
                is_inside = path.is_relative_to(root.resolve())
                if is_inside and path.is_file() and path.stat().st_size <= MAX_BYTES:
                    content_id = sha256_of(path)
                    self._paths[content_id] = path
                    return content_id
        return None

    def _candidates(self, row: Row) -> Sequence[tuple[Path, str]]:
        """Return where a row's file may be: (folder that it must be in, name in it)."""
        name = row["sample_id"].partition("/")[2]
        if self._own is None:
            return [(self._folder / "crawl" / row["label"] / "images", name)] if name else []
        downloaded = hashlib.sha256(row["source"].encode()).hexdigest()
        return [(Path(self._own.path), row["source"]), (self._folder / "downloads", downloaded)]

    def picture(self, content_id: str, side: int) -> bytes | None:
        """Return a file as a picture of our own making; None where it is unknown or gone.

        Raises Rejected where it cannot be opened. A refused file's own bytes are never served.
        """
        path = self._paths.get(content_id)
        if path is None:
            return None
        try:
            return normalise(path.read_bytes(), side).data
        except OSError as error:
            raise Rejected("unreadable", str(error.strerror)) from error


def attempts_of(dataset: str) -> dict[str, Attempt]:
    """Return the last attempt at every URL of a dataset's crawls."""
    ledgers = sorted((crawl_folder(dataset)).glob("*/ledger.jsonl"))
    return {attempt.source_url: attempt for path in ledgers for attempt in read_ledger(path)}
