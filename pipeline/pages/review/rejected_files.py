"""Files that never became samples: where they are, their content ids, and images made from them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pipeline.core.errors import Rejected
from pipeline.core.files import sha256_of
from pipeline.core.params import Params
from pipeline.dataset.ledger import Attempt, read_ledger
from pipeline.dataset.paths import LEDGER, crawl_folder, downloads_folder
from pipeline.dataset.rejected import RejectedRow
from pipeline.images.normalise import normalise

MAX_BYTES = 50_000_000  # larger files are not hashed or shown


class RejectedFiles:
    """The files behind the rows of rejected.csv, by content id. No other file is ever opened."""

    def __init__(self, dataset: str, params: Params) -> None:
        self._dataset = dataset
        self._folder = params.folder.get(dataset)  # None: the dataset was crawled
        self._paths: dict[str, Path] = {}

    def find(self, row: RejectedRow) -> str | None:
        """Return the content id of a row's file; None if the file is not on this disk."""
        for root, name in self._candidates(row):
            with suppress(OSError, ValueError):  # for names that no file can have
                path = (root / name).resolve()
                is_inside = path.is_relative_to(root.resolve())
                if is_inside and path.is_file() and path.stat().st_size <= MAX_BYTES:
                    content_id = sha256_of(path)
                    self._paths[content_id] = path
                    return content_id
        return None

    def _candidates(self, row: RejectedRow) -> Sequence[tuple[Path, str]]:
        """Return where a row's file may be: (folder that must contain it, name in that folder)."""
        if self._folder is None:
            name = row.sample_id.partition("/")[2]
            return [(crawl_folder(self._dataset) / row.label / "images", name)] if name else []
        downloaded = hashlib.sha256(row.source.encode()).hexdigest()
        own = Path(self._folder.path)
        return [(own, row.source), (downloads_folder(self._dataset), downloaded)]

    def image(self, content_id: str, side: int) -> bytes | None:
        """Return a newly encoded image of a file, no side above `side` pixels; None if unknown.

        A rejected file's own bytes are never served. Raises Rejected if it cannot be decoded.
        """
        path = self._paths.get(content_id)
        if path is None:
            return None
        try:
            return normalise(path.read_bytes(), side).data
        except OSError as error:
            raise Rejected("unreadable", str(error.strerror)) from error


def attempts_by_url(dataset: str) -> dict[str, Attempt]:
    """Return the last attempt at every URL of a dataset's crawls."""
    ledgers = sorted(crawl_folder(dataset).glob(f"*/{LEDGER}"))
    return {attempt.source_url: attempt for path in ledgers for attempt in read_ledger(path)}
