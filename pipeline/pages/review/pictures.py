"""Pictures by content id, out of samples.parquet: whole, or small for the grid.

Memory is bounded: of the row groups that were asked for, the last ones stay as far as a budget
allows. What was made small once is kept beside the dataset, in its cache that git ignores.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import Rejected
from pipeline.images.normalise import normalise

SMALL = 256  # pixels of a side: sharp on a card of 180 where a screen has 1.5 for each
BUDGET = 256 * 1024 * 1024  # bytes of row groups in memory; 2,000 photos of 50 KB are 100 MB
BATCH = 64  # pictures read at a time while all are made small
Place = tuple[int, int]  # a row group and a row in it


class Pictures:
    """The pictures of one samples.parquet. Safe with threads; a file that is replaced is another's.

    The file stays open, so what was read of the dataset and its pictures are of one version.
    """

    def __init__(self, path: Path, budget: int = BUDGET) -> None:
        self._file = pq.ParquetFile(path)
        self._budget = budget
        self._groups: OrderedDict[int, pa.ChunkedArray] = OrderedDict()
        self._reading = threading.Lock()
        self._places: dict[str, Place] = {}
        self._sizes: dict[str, str] = {}  # of the stored picture: the same content may be reduced
        for group in range(self._file.num_row_groups):
            table = self._file.read_row_group(group, columns=["content_id", "width", "height"])
            for row, (content, width, height) in enumerate(
                zip(*(column.to_pylist() for column in table.columns), strict=True)
            ):
                self._places.setdefault(content, (group, row))
                self._sizes.setdefault(content, f"{width}x{height}")
        self._kept = Kept(path.parent / "cache" / "thumbnails.sqlite")
        self._is_begun = False

    def whole(self, content_id: str) -> bytes | None:
        """Return a picture as it is stored, None for what is no sample."""
        place = self._places.get(content_id)
        return None if place is None else self._read(*place)

    def small(self, content_id: str) -> bytes | None:
        """Return a picture with no side above SMALL. Raises Rejected where it is damaged."""
        size = self._sizes.get(content_id)
        if size is None:
            return None
        found = self._kept.get(content_id, size)
        if found is None:
            found = normalise(self._read(*self._places[content_id]), SMALL).data
            self._kept.add([(content_id, size, found)])
        return found

    def begin(self) -> None:
        """Begin to make every picture small, in a thread of its own; once."""
        with self._reading:
            is_begun, self._is_begun = self._is_begun, True
        if not is_begun:
            threading.Thread(target=self.make_all_small, daemon=True).start()

    def make_all_small(self) -> None:
        """Make every picture small that is not yet, in the order of the file, with low priority."""
        with suppress(OSError, AttributeError):  # this thread alone, on Linux
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        missing = self._sizes.keys() - self._kept.contents()
        groups = {self._places[content][0] for content in missing}
        for group in sorted(groups):
            for batch in self._batches(group):
                made = []
                for content, image in batch:
                    if content in missing:
                        with suppress(Rejected):  # said when it is looked at
                            made.append(
                                (content, self._sizes[content], normalise(image, SMALL).data)
                            )
                self._kept.add(made)

    def _batches(self, group: int) -> Iterator[list[tuple[str, bytes]]]:
        columns = ["content_id", "image"]
        for batch in self._file.iter_batches(BATCH, row_groups=[group], columns=columns):
            images = batch["image"].field("bytes").to_pylist()
            yield list(zip(batch["content_id"].to_pylist(), images, strict=True))

    def _read(self, group: int, row: int) -> bytes:
        with self._reading:
            column = self._groups.get(group)
            if column is None:
                column = self._file.read_row_group(group, columns=["image"])["image"]
                self._groups[group] = column
                while len(self._groups) > 1 and self._bytes() > self._budget:
                    self._groups.popitem(last=False)
            self._groups.move_to_end(group)
            data: bytes = column[row].as_py()["bytes"]
            return data

    def _bytes(self) -> int:
        return sum(column.nbytes for column in self._groups.values())


class Kept:
    """Small pictures on the disk. A convenience: where the file cannot be used, nothing is kept."""

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
            except sqlite3.DatabaseError:  # damaged, or of something else
                self._file = None
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            except OSError:
                break

    def get(self, content_id: str, size: str) -> bytes | None:
        """Return the small picture of a content stored in a size."""
        rows = self._ask("SELECT data FROM small WHERE content=? AND size=?", (content_id, size))
        return rows[0][0] if rows else None

    def contents(self) -> set[str]:
        """Return the content ids that are kept."""
        return {content for (content,) in self._ask("SELECT content FROM small")}

    def add(self, made: Iterable[tuple[str, str, bytes]]) -> None:
        """Keep small pictures: content id, stored size and bytes."""
        with self._lock, suppress(sqlite3.Error):
            if self._file is not None:
                with self._file:
                    self._file.executemany("REPLACE INTO small VALUES (?, ?, ?)", made)

    def _ask(self, query: str, values: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
        with self._lock, suppress(sqlite3.Error):
            if self._file is not None:
                with closing(self._file.execute(query, values)) as found:
                    return found.fetchall()
        return []
