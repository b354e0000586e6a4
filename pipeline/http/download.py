"""Download one large file: resume it after an interruption, verify it, then move it into place."""

from __future__ import annotations

import fcntl
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit
from urllib.request import url2pathname

import click
import requests

from pipeline import __version__
from pipeline.core.errors import PipelineError, Rejected
from pipeline.core.files import sha256_of
from pipeline.core.progress import Progress
from pipeline.http.client import REDIRECTS, RETRIED, GuardedSession, HttpRejected, open_response
from pipeline.http.resume import PartialFile, validator_of

CHUNK = 1 << 18
TRIES = 3  # for one address, in a row and without progress
MIN_GAIN = 1 << 20  # bytes; a try that received this many does not count as a failure
MIN_RATE = 1_000  # bytes per second; a lower rate for `timeout_s` is a timeout
MAX_WAIT_S = 60.0  # if Retry-After asks for more, the next mirror is tried
MAX_REDIRECTS = 5
_TEMPORARY = RETRIED | {"timeout", "cut", "range"}


@dataclass(frozen=True)
class Downloaded:
    """The address that a file came from, its sha256 in hexadecimal, and its size in bytes."""

    source: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Bounds:
    """The limits of a download, and the checks that the file must pass."""

    max_bytes: int
    timeout_s: float  # longest time without data
    backoff_s: float  # before the second try; doubles with each further one
    sha256: str | None
    check: Callable[[Path], None] | None  # raises PipelineError


def download(
    url: str,
    mirrors: Sequence[str],
    target: Path,
    *,
    sha256: str | None,
    max_bytes: int,
    session: GuardedSession | None = None,
    timeout_s: float = 60.0,
    backoff_s: float = 1.0,
    part_folder: Path | None = None,
    check: Callable[[Path], None] | None = None,
) -> Downloaded:
    """Download the file at `url`, or else at the first of `mirrors` that works, to `target`.

    An address is http, https, file:// or a path. Received bytes stay in `part_folder`, by default
    the folder of `target`, as `<name>.part`. The next call continues after these bytes if the
    server supports that and still has the same file. `check` may raise PipelineError for an
    unsuitable file. A file that fails the check, or whose sha256 is not `sha256`, is kept as
    `<name>.bad-<its sha256>`, and the next mirror is tried.

    Raises PipelineError with the failure of each address if none of them has the file.
    """
    bounds = Bounds(max_bytes, timeout_s, backoff_s, sha256, check)
    folder = part_folder or target.parent
    guarded = session or GuardedSession(f"kalai/{__version__}")
    problems = []
    with _locked(folder):
        part = PartialFile(folder, target.name, sha256)
        for source in (url, *mirrors):
            try:
                digest = _verified(source, part, bounds, guarded)
            except Rejected as refusal:
                problems.append(f"{source}: {refusal}")
                continue
            except OSError as error:  # the error for a full disk names no file
                where = error.filename or str(part.path)
                raise OSError(error.errno, error.strerror, where) from error
            target.parent.mkdir(parents=True, exist_ok=True)
            size = part.size
            part.path.replace(target)
            part.origin_path.unlink(missing_ok=True)
            return Downloaded(source, digest, size)
    kept = f"; the next run resumes after {part.size} bytes" if part.size else ""
    raise PipelineError(f"{target.name}: download failed: {'; '.join(problems)}{kept}")


def is_local(address: str) -> bool:
    """Return whether an address is a path or a file:// URL."""
    return urlsplit(address).scheme not in ("http", "https")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PipelineError(
                f"{folder}: another download uses this folder; wait for it, or stop it"
            ) from error
        yield
    finally:
        os.close(descriptor)


def _verified(source: str, part: PartialFile, bounds: Bounds, session: GuardedSession) -> str:
    """Download all of `source` to `part` and return the sha256. Raises Rejected if that fails."""
    _obtain(source, part, bounds, session)
    digest, problem = _checked(part, bounds)
    if problem and part.is_resumed:  # the file may mix two versions
        _print(f"{part.name}: {problem}; downloading again from the start, as it came in parts")
        part.discard()
        _obtain(source, part, bounds, session)
        digest, problem = _checked(part, bounds)
    if problem:
        raise Rejected("bad", f"{problem}; kept as {part.set_aside(digest)}")
    return digest


def _checked(part: PartialFile, bounds: Bounds) -> tuple[str, str]:
    """Return the sha256 of a received file, and what is wrong with it; "" if nothing is."""
    digest = sha256_of(part.path)
    if bounds.sha256 not in (None, digest):
        return digest, f"its sha256 is {digest}, expected {bounds.sha256}"
    try:
        if bounds.check:
            bounds.check(part.path)
    except PipelineError as error:
        return digest, error.message
    return digest, ""


def _obtain(source: str, part: PartialFile, bounds: Bounds, session: GuardedSession) -> None:
    """Receive all of `source`, with retries after temporary failures.

    Raises Rejected if that fails.
    """
    if is_local(source):
        _copy(source, part, bounds)
        return
    failures = 0
    while True:
        before = part.size
        try:
            _receive(session, source, part, bounds)
            return
        except Rejected as refusal:
            failures = 0 if part.size - before >= MIN_GAIN else failures + 1
            retry_after_s = getattr(refusal, "retry_after_s", None) or 0.0
            is_final = refusal.reason not in _TEMPORARY or retry_after_s > MAX_WAIT_S
            if is_final or failures >= TRIES:
                raise
            wait_s = bounds.backoff_s * 2 ** max(0, failures - 1) * random.uniform(0.5, 1.0)
            wait_s = max(wait_s, retry_after_s)
            _print(f"{part.name}: {refusal}; retrying in {wait_s:.1f} s")
        time.sleep(wait_s)


def _receive(session: GuardedSession, source: str, part: PartialFile, bounds: Bounds) -> None:
    """Make one request, with its redirects, and append the body. Raises Rejected if that fails."""
    # The sha256 and the ranges refer to the file itself, not to a compressed form of it.
    headers = {"Accept-Encoding": "identity"} | part.range_headers(source)
    url = source
    for _ in range(MAX_REDIRECTS + 1):
        if bounds.sha256 is None and urlsplit(url).scheme == "http":
            _print(f"warning: {url}: http without a sha256 is not safe from tampering; set sha256")
        with open_response(
            session, url, bounds.timeout_s, headers=headers, silence_only=True
        ) as response:
            if response.status_code in REDIRECTS and "Location" in response.headers:
                url = urljoin(url, response.headers["Location"])
                continue
            total = _prepare(source, url, response, part, bounds)
            if total is None or part.size < total:
                _append(response, part, total, bounds)
        if total is not None and part.size != total:
            raise Rejected("cut", f"after {part.size} of {total} bytes")
        return
    raise Rejected("too-many-redirects", f"more than {MAX_REDIRECTS}")


def _prepare(
    source: str, url: str, response: requests.Response, part: PartialFile, bounds: Bounds
) -> int | None:
    """Cut `part` to the offset at which the response continues; return the whole file's size.

    The size is None if the server does not declare it. Raises Rejected if the body does not fit.
    """
    headers = response.headers
    validator = validator_of(headers)
    if response.status_code == 416 and headers.get("Content-Range") == f"bytes */{part.size}":
        part.is_resumed = True
        return part.size  # the whole file was already received
    if response.status_code == 200:
        declared = headers.get("Content-Length", "")
        total = int(declared) if declared.isdigit() else None
        begin = 0
    elif response.status_code in (206, 416):
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
        begin, total = (int(found[1]), int(found[2])) if found else (-1, None)
        if begin != part.size or part.is_other_version(source, validator):
            part.discard()
            raise Rejected("range", "the server cannot resume this file")
    else:
        raise HttpRejected(f"http-{response.status_code}", response.reason or "", url, response)
    if (total or 0) > bounds.max_bytes:
        raise Rejected("too-large", f"{total} bytes; the limit is {bounds.max_bytes}")
    if begin:
        _print(f"{part.name}: resuming after {begin} bytes")
        part.is_resumed = True
    else:
        if part.size:
            _print(f"{part.name}: the server sends the whole file; starting again")
        part.begin(source, validator)
    return total


def _append(
    response: requests.Response, part: PartialFile, total: int | None, bounds: Bounds
) -> None:
    window, in_window = time.monotonic(), 0
    with part.path.open("ab") as file, _progress(part, total) as count:
        # read1 returns available data at once; read would wait for a full chunk. The data is not
        # decoded, because some servers send a .tar.gz with `Content-Encoding: gzip`.
        while chunk := response.raw.read1(CHUNK, decode_content=False):
            if file.tell() + len(chunk) > bounds.max_bytes:
                raise Rejected("too-large", f"over {bounds.max_bytes} bytes")
            file.write(chunk)
            count(len(chunk))
            in_window += len(chunk)
            if (seconds := time.monotonic() - window) >= bounds.timeout_s:
                if in_window < MIN_RATE * seconds:
                    raise Rejected("timeout", f"{in_window} bytes in {seconds:.0f} s")
                window, in_window = time.monotonic(), 0


def _copy(source: str, part: PartialFile, bounds: Bounds) -> None:
    """Copy a local file to `part`. Raises Rejected if that fails."""
    parts = urlsplit(source)
    if parts.scheme not in ("", "file") or parts.netloc not in ("", "localhost"):
        raise Rejected("scheme", "allowed: http, https, file:///path, or a path")
    path = Path(url2pathname(parts.path)) if parts.scheme else Path(source)
    try:
        file = path.open("rb")
    except OSError as error:
        raise Rejected("unreadable", error.strerror or str(error)) from error
    with file:
        size = os.fstat(file.fileno()).st_size
        if size > bounds.max_bytes:
            raise Rejected("too-large", f"{size} bytes; the limit is {bounds.max_bytes}")
        part.begin(source, None)
        with part.path.open("wb") as copy, _progress(part, size) as count:
            while chunk := file.read(CHUNK):
                copy.write(chunk)
                count(len(chunk))


@contextmanager
def _progress(part: PartialFile, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yield a function that adds received bytes to a progress display in kB."""
    left_kb = None if total is None else (total - part.size) // 1000
    received = shown = 0
    with Progress(f"fetch {part.name}", left_kb, unit="kB") as progress:

        def count(size: int) -> None:
            nonlocal received, shown
            received += size
            progress.advance(received // 1000 - shown)
            shown = received // 1000

        yield count


def _print(line: str) -> None:
    click.echo(line, err=True)
