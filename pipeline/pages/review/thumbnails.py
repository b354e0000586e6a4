"""Images by content id: as samples.parquet stores them, or as thumbnails for the grid.

Memory is bounded: the most recently read row groups stay in memory, within a budget of bytes.
Thumbnails are kept in the dataset's cache folder, which git ignores.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import Rejected
from pipeline.dataset.columns import CONTENT_ID, HEIGHT, IMAGE, WIDTH
from pipeline.dataset.paths import cache_folder
from pipeline.dataset.samples import existing_samples
from pipeline.dataset.stored_images import images_by_content
from pipeline.images.normalise import normalise

SIDE = 256  # pixels; sharp on a card of 170 CSS pixels, at 1.5 device pixels each
BUDGET = 256 * 1024 * 1024  # bytes of row groups in memory; 2,000 photos of 50 KB are 100 MB
BATCH = 64  # thumbnails written at a time


class ImageStore:
    """The images of one samples.parquet; thread-safe.

    The file stays open, so all images come from one version of it, even after it is replaced.
    """

    def __init__(self, dataset: str, budget: int = BUDGET) -> None:
        self._file = pq.ParquetFile(existing_samples(dataset))
        self._budget = budget
        self._groups: OrderedDict[int, pa.ChunkedArray] = OrderedDict()
        self._reading = threading.Lock()
        self._places: dict[str, tuple[int, int]] = {}  # (row group, row in it) by content id
        self._sizes: dict[str, str] = {}  # as stored: a new version may store the image reduced
        for group in range(self._file.num_row_groups):
            table = self._file.read_row_group(group, columns=[CONTENT_ID, WIDTH, HEIGHT])
            for row, (content_id, width, height) in enumerate(
                zip(*(column.to_pylist() for column in table.columns), strict=True)
            ):
                self._places.setdefault(content_id, (group, row))
                self._sizes.setdefault(content_id, f"{width}x{height}")
        self._cache = ThumbnailCache(cache_folder(dataset) / "thumbnails.sqlite")
        self._is_started = False

    def image(self, content_id: str) -> bytes | None:
        """Return an image as it is stored; None if no sample has this content."""
        place = self._places.get(content_id)
        return None if place is None else self._read(*place)

    def thumbnail(self, content_id: str) -> bytes | None:
        """Return an image with no side longer than SIDE; None if no sample has this content.

        Raises Rejected if the stored image is damaged.
        """
        size = self._sizes.get(content_id)
        if size is None:
            return None
        found = self._cache.get(content_id, size)
        if found is None:
            found = normalise(self._read(*self._places[content_id]), SIDE).data
            self._cache.add([(content_id, size, found)])
        return found

    def start_thumbnails(self) -> None:
        """Start to make all thumbnails in a thread; later calls do nothing."""
        with self._reading:
            is_started, self._is_started = self._is_started, True
        if not is_started:
            threading.Thread(target=self.make_thumbnails, daemon=True).start()

    def make_thumbnails(self) -> None:
        """Make the thumbnails that the cache lacks, in the order of the file, at low priority."""
        with suppress(OSError, AttributeError):  # on Linux, for this thread alone
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        missing = self._sizes.keys() - self._cache.content_ids()
        groups = sorted({self._places[content_id][0] for content_id in missing})
        images = images_by_content(self._file, groups, missing)
        while batch := list(islice(images, BATCH)):
            made = []
            for content_id, data in batch:
                with suppress(Rejected):  # the page reports it when somebody looks at the image
                    made.append((content_id, self._sizes[content_id], normalise(data, SIDE).data))
            self._cache.add(made)

    def _read(self, group: int, row: int) -> bytes:
        with self._reading:
            column = self._groups.get(group)
            if column is None:
                column = self._file.read_row_group(group, columns=[IMAGE])[IMAGE]
                self._groups[group] = column
                while len(self._groups) > 1 and self._bytes_held() > self._budget:
                    self._groups.popitem(last=False)
            self._groups.move_to_end(group)
            data: bytes = column[row].as_py()["bytes"]
            return data

    def _bytes_held(self) -> int:
        return sum(column.nbytes for column in self._groups.values())


class ThumbnailCache:
    """Thumbnails in a file. If the file cannot be used, nothing is kept and nothing fails."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._file: sqlite3.Connection | None = None
        for _ in range(2):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = sqlite3.connect(path, timeout=2, check_same_thread=False)
                self._file.executescript(
                    "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; CREATE TABLE IF NOT EXISTS "
                    "small (content TEXT PRIMARY KEY, size TEXT, data BLOB) WITHOUT ROWID"
                )
                break
            except sqlite3.DatabaseError:  # damaged, or another program's file
                self._file = None
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            except OSError:
                break

    def get(self, content_id: str, size: str) -> bytes | None:
        """Return an image's thumbnail.

        None if there is none, or if the stored image has another size by now.
        """
        rows = self._query("SELECT data FROM small WHERE content=? AND size=?", (content_id, size))
        return rows[0][0] if rows else None

    def content_ids(self) -> set[str]:
        """Return the content ids that have a thumbnail."""
        return {content_id for (content_id,) in self._query("SELECT content FROM small")}

    def add(self, made: Iterable[tuple[str, str, bytes]]) -> None:
        """Keep thumbnails: content id, stored size and bytes."""
        with self._lock, suppress(sqlite3.Error):
            if self._file is not None:
                with self._file:
                    self._file.executemany("REPLACE INTO small VALUES (?, ?, ?)", made)

    def _query(self, query: str, values: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock, suppress(sqlite3.Error):
            if self._file is not None:
                with closing(self._file.execute(query, values)) as found:
                    return found.fetchall()
        return []
