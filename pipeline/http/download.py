"""One large file from outside: resumed where it was cut, verified, whole or not there at all."""

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
from pipeline.http.resume import Part, validator_of

CHUNK = 1 << 18
TRIES = 3  # of one address, one after another without progress
MIN_GAIN = 1 << 20  # bytes; a try that brought so much does not count as one that failed
MIN_RATE = 1_000  # bytes a second; less, for as long as silence is borne, is as good as silence
MAX_WAIT_S = 60.0  # what Retry-After may ask; more sends us to the next mirror
MAX_REDIRECTS = 5
_PASSING = RETRIED | {"timeout", "cut", "range"}


@dataclass(frozen=True)
class Downloaded:
    """What was downloaded: the address that gave it, sha256 in hexadecimal, bytes."""

    source: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Bounds:
    """What a download may cost, and what it must prove."""

    max_bytes: int
    timeout_s: float  # of silence
    backoff_s: float  # before the second try; doubles
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
    """Bring the file at `url`, or at the first of `mirrors` that has it, to `target`.

    An address is http, https, file:// or a path. What was received stays in `part_folder` (that
    of `target` by default) as `<name>.part`, and the next call goes on from there if the server
    can and the file is the same. `check` looks at the whole file before it is taken. A file of
    another `sha256` is kept as `<name>.bad-<its sha256>`, and the next mirror is asked.

    Raises PipelineError, one line with what each address answered, when none gave the file.
    """
    bounds = Bounds(max_bytes, timeout_s, backoff_s, sha256, check)
    folder = part_folder or target.parent
    guarded = session or GuardedSession(f"kalai/{__version__}")
    problems = []
    with _locked(folder):
        part = Part(folder, target.name, sha256)
        for source in (url, *mirrors):
            try:
                digest = _verified(source, part, bounds, guarded)
            except Rejected as refusal:
                problems.append(f"{source}: {refusal}")
                continue
            except OSError as error:  # a full disk, which does not say where
                where = error.filename or str(part.path)
                raise OSError(error.errno, error.strerror, where) from error
            target.parent.mkdir(parents=True, exist_ok=True)
            size = part.size
            part.path.replace(target)
            part.state_path.unlink(missing_ok=True)
            return Downloaded(source, digest, size)
    kept = f" (the first {part.size} bytes are kept for the next try)" if part.size else ""
    raise PipelineError(f"{target.name} could not be had{kept}: {'; '.join(problems)}")


def is_local(address: str) -> bool:
    """Say whether an address is a path or file://."""
    return urlsplit(address).scheme not in ("http", "https")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PipelineError(f"{folder}: another download is at work here") from error
        yield
    finally:
        os.close(descriptor)


def _verified(source: str, part: Part, bounds: Bounds, session: GuardedSession) -> str:
    """Bring the whole of `source` to `part` and return its sha256; raise Rejected."""
    _obtain(source, part, bounds, session)
    digest, problem = _judged(part, bounds)
    if problem and part.is_resumed:  # it may be made of two versions
        _say(f"{part.name}: {problem}; it came in parts, so once more from the start")
        part.discard()
        _obtain(source, part, bounds, session)
        digest, problem = _judged(part, bounds)
    if problem:
        raise Rejected("bad", f"{problem}; kept as {part.set_aside(digest)}")
    return digest


def _judged(part: Part, bounds: Bounds) -> tuple[str, str]:
    """Return the sha256 of what was received, and what is wrong with it or nothing."""
    digest = sha256_of(part.path)
    if bounds.sha256 not in (None, digest):
        return digest, f"its sha256 is {digest}, expected {bounds.sha256}"
    try:
        if bounds.check:
            bounds.check(part.path)
    except PipelineError as error:
        return digest, error.message
    return digest, ""


def _obtain(source: str, part: Part, bounds: Bounds, session: GuardedSession) -> None:
    """Receive all of `source`, going on after what may pass; raise Rejected."""
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
            asked_s = getattr(refusal, "retry_after_s", None) or 0.0
            if refusal.reason not in _PASSING or failures >= TRIES or asked_s > MAX_WAIT_S:
                raise
            wait_s = bounds.backoff_s * 2 ** max(0, failures - 1) * random.uniform(0.5, 1.0)
            wait_s = max(wait_s, asked_s)
            _say(f"{part.name}: {refusal}; asking again in {wait_s:.1f} s")
        time.sleep(wait_s)


def _receive(session: GuardedSession, source: str, part: Part, bounds: Bounds) -> None:
    """Make one request (and its redirects) and append what comes; raise Rejected."""
    # A server that compresses on the way would change the bytes, and ranges of them.
    headers = {"Accept-Encoding": "identity"} | part.range_headers(source)
    url = source
    for _ in range(MAX_REDIRECTS + 1):
        if bounds.sha256 is None and urlsplit(url).scheme == "http":
            _say(f"warning: {url} is plain http and no sha256 is set: anyone between could swap it")
        with open_response(
            session, url, bounds.timeout_s, headers=headers, silence_only=True
        ) as response:
            if response.status_code in REDIRECTS and "Location" in response.headers:
                url = urljoin(url, response.headers["Location"])
                continue
            total = _place(source, url, response, part, bounds)
            if total is None or part.size < total:
                _append(response, part, total, bounds)
        if total is not None and part.size != total:
            raise Rejected("cut", f"after {part.size} of {total} bytes")
        return
    raise Rejected("too-many-redirects", f"more than {MAX_REDIRECTS}")


def _place(
    source: str, url: str, response: requests.Response, part: Part, bounds: Bounds
) -> int | None:
    """Make `part` end where the body of a response begins; return the size of the whole file."""
    headers = response.headers
    validator = validator_of(headers)
    if response.status_code == 416 and headers.get("Content-Range") == f"bytes */{part.size}":
        part.is_resumed = True
        return part.size  # all of it was received
    if response.status_code == 200:
        declared = headers.get("Content-Length", "")
        total = int(declared) if declared.isdigit() else None
        begin = 0
    elif response.status_code in (206, 416):
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", headers.get("Content-Range", ""))
        begin, total = (int(found[1]), int(found[2])) if found else (-1, None)
        if begin != part.size or part.is_other_version(source, validator):
            part.discard()
            raise Rejected("range", "the server cannot go on with the same file")
    else:
        raise HttpRejected(f"http-{response.status_code}", response.reason or "", url, response)
    if (total or 0) > bounds.max_bytes:
        raise Rejected("too-large", f"{total} bytes, at most {bounds.max_bytes}")
    if begin:
        _say(f"{part.name}: going on after {begin} bytes")
        part.is_resumed = True
    else:
        if part.size:
            _say(f"{part.name}: the server sends all of it; starting anew")
        part.begin(source, validator)
    return total


def _append(response: requests.Response, part: Part, total: int | None, bounds: Bounds) -> None:
    window, in_window = time.monotonic(), 0
    with part.path.open("ab") as file, _progress(part, total) as count:
        # read1 gives what has come; read would wait for a full chunk. Undecoded, too: a server
        # that calls a .tar.gz gzip-encoded would have it unpacked.
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


def _copy(source: str, part: Part, bounds: Bounds) -> None:
    """Copy a local file to `part`; raise Rejected."""
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
            raise Rejected("too-large", f"{size} bytes, at most {bounds.max_bytes}")
        part.begin(source, None)
        with part.path.open("wb") as copy, _progress(part, size) as count:
            while chunk := file.read(CHUNK):
                copy.write(chunk)
                count(len(chunk))


@contextmanager
def _progress(part: Part, total: int | None) -> Iterator[Callable[[int], None]]:
    """Give a function that counts bytes, shown in kB."""
    left = None if total is None else (total - part.size) // 1000
    received = shown = 0
    with Progress(f"fetch {part.name}", left, unit="kB") as progress:

        def count(size: int) -> None:
            nonlocal received, shown
            received += size
            progress.advance(received // 1000 - shown)
            shown = received // 1000

        yield count


def _say(line: str) -> None:
    click.echo(line, err=True)
