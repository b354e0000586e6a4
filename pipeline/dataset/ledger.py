"""The ledger of a crawl: one line for every attempt, beside the pictures it tells of.

    data/dances/crawl/<dance>/ledger.jsonl
    data/dances/crawl/<dance>/images/<sha256><.jpg|.png|...>

A line is written before its picture is renamed into place, so after a crash the ledger may name a
picture that is not there (it is then fetched again) and never the other way round.
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
from pipeline.images.normalise import EXTENSIONS

# A host's or the network's bad day: worth another try in a later run.
TRANSIENT = frozenset(
    {"timeout", "connection", "dns", "tls", "busy"}
    | {f"http-{status}" for status in (429, 500, 502, 503, 504)}
)


@dataclass(slots=True)
class Attempt:
    """One attempt at one URL; None is what is not known."""

    dance: str
    engine: str
    query: str
    rank: int  # within the engine's answers to the query, from 1
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
        """Return all fields by name (dataclasses.asdict copies deeply, and takes ten times it)."""
        return {name: getattr(self, name) for name in _KEYS}

    @property
    def file_name(self) -> str:
        """The name of the picture's file: its sha256, and an extension by its content."""
        return f"{self.sha256}{EXTENSIONS[str(self.format)]}"


def is_licensed(licence: str | None, demanded: Collection[str]) -> bool:
    """Say whether a picture under this licence may be used; where none is demanded, any may."""
    return not demanded or licence in demanded


def provenance(attempts: Iterable[Attempt], demanded: Collection[str] = ()) -> dict[str, Attempt]:
    """Return the attempt that says where each picture is from, by sha256.

    Of all URLs that gave the same bytes it is one with a demanded licence, then one whose licence
    is known, then one of the first day, so that a top-up changes nothing that was, then the best
    ranked. Which of them came first over the network says nothing.
    """
    best: dict[str, Attempt] = {}
    for attempt in attempts:
        if attempt.outcome in ("stored", "duplicate") and attempt.sha256:
            known = best.get(attempt.sha256, attempt)
            best[attempt.sha256] = min(known, attempt, key=lambda one: _standing(one, demanded))
    return best


def _standing(attempt: Attempt, demanded: Collection[str]) -> tuple[Any, ...]:
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
    """Return the last word on every URL.

    A retry is none. Nor is a refusal for its licence of what had come before, once licences that
    it has are demanded, or none.
    """
    latest: dict[str, Attempt] = {}
    for attempt in attempts:
        _hear(latest, attempt, demanded)
    return latest


def _hear(latest: dict[str, Attempt], attempt: Attempt, demanded: Collection[str]) -> None:
    before = latest.get(attempt.source_url)
    had = before if before and before.outcome != "refused" else None
    if attempt.reason == "licence" and had and is_licensed(had.licence, demanded):
        return
    if attempt.outcome != "retry":
        latest[attempt.source_url] = attempt


_KEYS = ("time", *(field.name for field in fields(Attempt) if field.name != "time"))


class Ledger:
    """The ledger and the pictures of one dance, held by one process at a time.

    `stored` has the attempt behind every picture on the disk, by sha256, but for those without one
    of the `licences` where some are demanded; `latest` the last word on every URL. Entering locks
    the folder, mends a cut last line and clears what a killed run left; raises PipelineError when
    another process crawls here.
    """

    def __init__(self, folder: Path, licences: Collection[str] = ()) -> None:
        self.folder = folder
        self.licences = frozenset(licences)
        self.images = folder / "images"
        self.incoming = folder / ".incoming"  # in the same file system: a rename is atomic there
        self.path = folder / "ledger.jsonl"
        self.stored: dict[str, Attempt] = {}
        self.latest: dict[str, Attempt] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        import fcntl  # not on Windows, where ledgers can be read all the same

        self.images.mkdir(parents=True, exist_ok=True)
        self._folder = os.open(self.folder, os.O_RDONLY)
        try:
            # The folder itself is locked: a lock file would become part of DVC's output.
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._folder)
            raise PipelineError(f"{self.folder}: another crawl is at work here") from error
        try:
            shutil.rmtree(self.incoming, ignore_errors=True)
            _mend(self.path)
            for attempt in read_ledger(self.path):
                self._recall(attempt)
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
        """Write an attempt; return whether it brought a new picture.

        `data` is a verified picture: it is stored, or the attempt a duplicate of one that is.
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
        """Write a line whole, or leave the ledger as it was (a full disk takes half a line)."""
        text = json.dumps(attempt.as_dict(), ensure_ascii=False) + "\n"
        line = left = text.encode("utf-8", "replace")  # half a surrogate is no text to anyone
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            os.ftruncate(self._file, self._size)
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        self._size += len(line)
        _hear(self.latest, attempt, self.licences)

    def _recall(self, attempt: Attempt) -> None:
        """Take in a line of an earlier run; its picture may have been lost or damaged since."""
        _hear(self.latest, attempt, self.licences)
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
        """Say whether a URL needs no request: its picture is here, or it was refused for good.

        `still_refused` judges by today's rules what was refused by yesterday's.
        """
        attempt = self.latest.get(url)
        if attempt is None:
            return False
        if attempt.outcome == "refused":
            return attempt.reason not in TRANSIENT and still_refused(attempt)
        return attempt.sha256 in self.stored

    def report(self, asked: int) -> dict[str, Any]:
        """Return the metrics: pictures asked for, stored, duplicates, refused by reason, licences.

        A URL counts once, by the last word on it; so a second run changes nothing.
        """
        words = self.latest.values()
        here = sum(word.outcome != "refused" and word.sha256 in self.stored for word in words)
        refused = Counter(str(word.reason) for word in words if word.outcome == "refused")
        told = provenance((word for word in words if word.sha256 in self.stored), self.licences)
        licences = Counter(attempt.licence or "unknown" for attempt in told.values())
        return {
            "asked": asked,
            "stored": len(self.stored),
            "duplicates": here - len(self.stored),
            "refused": dict(sorted(refused.items())),
            "licences": dict(sorted(licences.items())),
        }


def read_ledger(path: Path) -> list[Attempt]:
    """Read a ledger; no file is no attempts.

    Raises PipelineError naming the line that is not an attempt; a last line that was cut short is
    left out.
    """
    attempts = []
    lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
    for number, line in enumerate(lines[:-1], 1):  # what follows the last line end was cut
        if line:
            attempts.append(_parsed(line, f"{path}: line {number}"))
    return attempts


def _parsed(line: bytes, where: str) -> Attempt:
    try:
        values = json.loads(line)
        return Attempt(**{key: value for key, value in values.items() if key in _KEYS})
    except (ValueError, TypeError, AttributeError) as error:
        raise PipelineError(f"{where}: not an attempt: {error}; remove the line") from error


def _mend(path: Path) -> None:
    """Cut off a last line that a killed run or a full disk left without its end."""
    data = path.read_bytes() if path.exists() else b""
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.truncate(path, whole)
        print(f"{path}: the last line was cut short and is left out", file=sys.stderr)
