"""The ledger of a crawl: one line for each attempt to download a URL, beside the images.

    data/dances/crawl/<dance>/ledger.jsonl
    data/dances/crawl/<dance>/images/<sha256><.jpg|.png|...>

A line is written before its image is renamed into place. So after a crash the ledger may name an
image that is not there, which the next run downloads again. Every image has a line.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pipeline.core.errors import PipelineError
from pipeline.images.decode import EXTENSIONS

# reasons that may be temporary: a later run tries the URL again
TRANSIENT = frozenset(
    {"timeout", "connection", "dns", "tls", "busy"}
    | {f"http-{status}" for status in (429, 500, 502, 503, 504)}
)


@dataclass(slots=True)
class Attempt:
    """One attempt to download one URL; a field is None if its value is unknown."""

    dance: str
    engine: str
    query: str
    rank: int  # among the engine's results for the query, from 1
    source_url: str
    page_url: str | None = None
    final_url: str | None = None
    status: int | None = None
    content_type: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    outcome: str = "refused"  # stored, duplicate, refused or retry
    reason: str | None = None
    detail: str | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    licence: str | None = None
    licence_url: str | None = None
    creator: str | None = None
    attribution: str | None = None
    time: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return all fields by name, in a tenth of the time that dataclasses.asdict takes."""
        return {name: getattr(self, name) for name in _KEYS}

    @property
    def file_name(self) -> str:
        """The name of the image's file: its sha256, and the extension of its format."""
        return f"{self.sha256}{EXTENSIONS[str(self.format)]}"


def is_licensed(licence: str | None, demanded: Collection[str]) -> bool:
    """Return whether `licence` is among those demanded; if none is demanded, always true."""
    return not demanded or licence in demanded


def provenance(attempts: Iterable[Attempt], demanded: Collection[str] = ()) -> dict[str, Attempt]:
    """Return the attempt that is recorded as the source of each image, by sha256.

    Several URLs may give the same bytes. Preferred are, in this order, a demanded licence, any
    licence, the earliest day, and the best rank. The earliest day is preferred so that a later
    crawl does not change a recorded source. The order in which responses arrived has no effect.
    """
    best: dict[str, Attempt] = {}
    for attempt in attempts:
        if attempt.outcome in ("stored", "duplicate") and attempt.sha256:
            known = best.get(attempt.sha256, attempt)
            best[attempt.sha256] = min(known, attempt, key=lambda one: _preference(one, demanded))
    return best


def _preference(attempt: Attempt, demanded: Collection[str]) -> tuple[Any, ...]:
    return (
        not is_licensed(attempt.licence, demanded),
        attempt.licence is None,
        attempt.time[: len("2026-01-01")],
        attempt.rank,
        attempt.engine,
        attempt.query,
        attempt.source_url,
    )


def latest_attempts(
    attempts: Iterable[Attempt], demanded: Collection[str] = ()
) -> dict[str, Attempt]:
    """Return, for each URL, the latest attempt that settles it.

    An attempt with the outcome "retry" settles nothing. A refusal because of the licence is ignored
    if an earlier attempt stored the image and its licence is allowed now.
    """
    latest: dict[str, Attempt] = {}
    for attempt in attempts:
        _add_latest(latest, attempt, demanded)
    return latest


def _add_latest(latest: dict[str, Attempt], attempt: Attempt, demanded: Collection[str]) -> None:
    before = latest.get(attempt.source_url)
    stored = before if before and before.outcome != "refused" else None
    if attempt.reason == "licence" and stored and is_licensed(stored.licence, demanded):
        return
    if attempt.outcome != "retry":
        latest[attempt.source_url] = attempt


_KEYS = ("time", *(field.name for field in fields(Attempt) if field.name != "time"))


class Ledger:
    """The ledger and the images of one dance, locked by one process at a time.

    An attempt is one try to download a URL. `stored` maps the sha256 of each image on the disk that
    has one of the demanded `licences` to its attempt. `latest` maps each URL to its latest attempt.
    Entering the context locks the folder, and removes a truncated last line and the leftovers of a
    killed run. It raises PipelineError if another process is crawling into the folder.
    """

    def __init__(self, folder: Path, licences: Collection[str] = ()) -> None:
        self.folder = folder
        self.licences = frozenset(licences)
        self.images = folder / "images"
        self.incoming = folder / ".incoming"  # in the same file system, where a rename is atomic
        self.path = folder / "ledger.jsonl"
        self.stored: dict[str, Attempt] = {}
        self.latest: dict[str, Attempt] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        import fcntl  # missing on Windows, where ledgers can still be read

        self.images.mkdir(parents=True, exist_ok=True)
        self._folder = os.open(self.folder, os.O_RDONLY)
        try:
            # The lock is on the folder itself, because DVC would track a lock file in it.
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._folder)
            raise PipelineError(
                f"{self.folder}: another crawl uses this folder; wait for it, or stop it"
            ) from error
        try:
            shutil.rmtree(self.incoming, ignore_errors=True)
            _remove_truncated_line(self.path)
            for attempt in read_ledger(self.path):
                self._restore(attempt)
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            self._size = os.fstat(self._file).st_size
            self.incoming.mkdir()
        except BaseException:
            os.close(self._folder)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            os.close(self._file)
        shutil.rmtree(self.incoming, ignore_errors=True)
        os.close(self._folder)

    def add(self, attempt: Attempt, data: bytes | None = None) -> bool:
        """Write an attempt, and store `data`; return whether the image is new.

        `data` is a verified image; None if there is none. If the same bytes are stored already, the
        outcome of the attempt becomes "duplicate".
        """
        attempt.time = datetime.now(UTC).isoformat(timespec="seconds")
        if data is None:
            with self._lock:
                self._append(attempt)
                return False
        part = self.incoming / f"{threading.get_ident()}"
        if attempt.sha256 not in self.stored:
            part.write_bytes(data)
        with self._lock:
            is_new = attempt.sha256 not in self.stored
            attempt.outcome = "stored" if is_new else "duplicate"
            self._append(attempt)
            if is_new:
                part.replace(self.images / attempt.file_name)
                self.stored[str(attempt.sha256)] = attempt
        if not is_new:
            part.unlink(missing_ok=True)
        return is_new

    def _append(self, attempt: Attempt) -> None:
        """Append a line; if the disk is full, restore the ledger and raise OSError."""
        text = json.dumps(attempt.as_dict(), ensure_ascii=False) + "\n"
        line = left = text.encode("utf-8", "replace")  # an unpaired surrogate cannot be encoded
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            os.ftruncate(self._file, self._size)
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        self._size += len(line)
        _add_latest(self.latest, attempt, self.licences)

    def _restore(self, attempt: Attempt) -> None:
        """Add an attempt of an earlier run, whose image may be lost or damaged by now."""
        _add_latest(self.latest, attempt, self.licences)
        is_here = attempt.outcome in ("stored", "duplicate") and is_licensed(
            attempt.licence, self.licences
        )
        if is_here and attempt.sha256 not in self.stored:
            try:
                size = (self.images / attempt.file_name).stat().st_size
            except FileNotFoundError:
                return
            if size == attempt.bytes:
                self.stored[str(attempt.sha256)] = attempt

    def is_settled(self, url: str, still_refused: Callable[[Attempt], bool]) -> bool:
        """Return whether a URL needs no request: its image is stored, or it was refused for good.

        `still_refused` says whether the current rules would refuse an attempt that was refused
        before.
        """
        attempt = self.latest.get(url)
        if attempt is None:
            return False
        if attempt.outcome == "refused":
            return attempt.reason not in TRANSIENT and still_refused(attempt)
        return attempt.sha256 in self.stored

    def report(self, asked: int) -> dict[str, Any]:
        """Return the metrics: images asked for, stored and duplicate; refusals by reason; licences.

        A URL counts once, by its latest attempt. So the metrics stay the same if another run finds
        nothing new.
        """
        latest = self.latest.values()
        here = sum(one.outcome != "refused" and one.sha256 in self.stored for one in latest)
        refused = Counter(str(one.reason) for one in latest if one.outcome == "refused")
        sources = provenance((one for one in latest if one.sha256 in self.stored), self.licences)
        licences = Counter(attempt.licence or "unknown" for attempt in sources.values())
        return {
            "asked": asked,
            "stored": len(self.stored),
            "duplicates": here - len(self.stored),
            "refused": dict(sorted(refused.items())),
            "licences": dict(sorted(licences.items())),
        }


def read_ledger(path: Path) -> list[Attempt]:
    """Return the attempts in a ledger; an empty list if there is no file.

    A truncated last line is skipped. Raises PipelineError if a line is not an attempt;
    the error names its number.
    """
    attempts = []
    lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
    for number, line in enumerate(lines[:-1], 1):  # text after the last line end is truncated
        if line:
            attempts.append(_parsed(line, f"{path}: line {number}"))
    return attempts


def _parsed(line: bytes, where: str) -> Attempt:
    try:
        values = json.loads(line)
        return Attempt(**{key: value for key, value in values.items() if key in _KEYS})
    except (ValueError, TypeError, AttributeError) as error:
        raise PipelineError(
            f"{where}: not a valid record of an attempt: {error}; remove this line"
        ) from error


def _remove_truncated_line(path: Path) -> None:
    """Remove a last line that a killed run or a full disk left incomplete."""
    data = path.read_bytes() if path.exists() else b""
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
        print(f"warning: {path}: removed the last line, which was truncated", file=sys.stderr)
