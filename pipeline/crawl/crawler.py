"""icrawler's feeder, parser and downloader, made deterministic.

    feeder --streams--> parser --images in order of rank--> downloader --> ledger

The set of stored images depends on what the engines answer and not on how fast each image arrives:
downloads begin in order of rank, and at most as many run at once as images are still wanted.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from icrawler import Crawler, ImageDownloader

from pipeline.core.errors import Rejected
from pipeline.crawl.engines.engine import EngineError, Result
from pipeline.crawl.quota import Quota
from pipeline.crawl.rules import Rules
from pipeline.crawl.search import RankedResult, Stream, StreamFeeder, StreamParser
from pipeline.dataset.ledger import Attempt, Ledger
from pipeline.http.client import GuardedSession, HttpRejected, Limits, NoPoliteness, Politeness, get
from pipeline.images.normalise import verify

ACCEPT = {"Accept": "image/*", "Accept-Encoding": "identity"}  # images are compressed already
SPOOL_BYTES = 1_000_000  # an unfinished image stays in memory up to this size, then on disk
# Verifying an image occupies a processor and keeps the whole image in memory. So only a few threads
# do it, while the download threads go on.
STORERS = min(4, os.cpu_count() or 1)
JOIN_S = 5  # seconds to wait for threads; a thread that is resolving a name cannot be interrupted


class LedgerDownloader(ImageDownloader):
    """Downloads, verifies and stores images; each attempt becomes a line of the ledger."""

    def __init__(
        self, threads: int, signal: Any, session: GuardedSession, storage: Ledger, crawl: Crawl
    ) -> None:
        super().__init__(threads, signal, session, storage)
        self.crawl = crawl
        self._storers = ThreadPoolExecutor(STORERS, thread_name_prefix="storer")
        self._room = threading.Semaphore(2 * STORERS + threads)  # downloaded and not yet stored
        self._turn = threading.Lock()

    def worker_exec(self, **_: Any) -> None:
        """Download images until no further download may begin."""
        while (found := self._next()) is not None:
            self.download(found)

    def _next(self) -> RankedResult | None:
        # One thread at a time takes and begins an image, so that images begin in order of rank.
        with self._turn:
            found = self.in_queue.get()
            return found if found is not None and self.crawl.quota.begin() else None

    def download(self, task: RankedResult, *_: Any, **__: Any) -> None:
        """Download an image whose turn has come; another thread verifies and stores it."""
        attempt = self.crawl.attempt(task)
        file = SpooledTemporaryFile(SPOOL_BYTES, dir=self.storage.incoming)  # noqa: SIM115  (_end does)
        try:
            self._fetch(attempt, file)
            self._room.acquire()
            self._storers.submit(self._store, attempt, file)
        except BaseException as error:
            self._end(attempt, file, error)

    def _store(self, attempt: Attempt, file: IO[bytes]) -> None:
        problem: BaseException | None = None
        try:
            file.seek(0)
            data = file.read()
            self._verify(attempt, data)
            self.storage.add(attempt, data)
        except BaseException as error:
            problem = error
        self._room.release()
        self._end(attempt, file, problem)

    def _end(self, attempt: Attempt, file: IO[bytes], problem: BaseException | None) -> None:
        """Write the outcome of an attempt, and let the next image begin."""
        try:
            file.close()
            if isinstance(problem, Rejected) and problem.reason != "stopped":
                _record_refusal(attempt, problem)
                self.storage.add(attempt)
                problem = None
            if problem is None:
                self.crawl.note(attempt)
            elif not isinstance(problem, Rejected):
                raise problem
        except BaseException as error:  # a full disk, or a fault in this code: the crawl ends
            self.crawl.fail(error)
        self.crawl.quota.end(is_new=attempt.outcome == "stored")
        if self.crawl.quota.is_full:
            self.crawl.dismiss()

    def close(self) -> None:
        """Wait until all downloaded images are stored."""
        self._storers.shutdown()

    def _fetch(self, attempt: Attempt, file: IO[bytes]) -> None:
        if not self.crawl.rules.is_licensed(attempt.licence):
            raise Rejected("licence", attempt.licence or "unknown")
        fetched = get(
            self.session,
            attempt.source_url,
            self.crawl.limits,
            headers=ACCEPT,
            into=file,
            politeness=self.crawl.politeness,
            stop=self.crawl.stopping,
            on_retry=lambda why, wait_s: self._record_retry(attempt, why, wait_s),
        )
        attempt.final_url, attempt.status = fetched.url, fetched.status
        attempt.content_type, attempt.bytes = fetched.content_type, fetched.size

    def _verify(self, attempt: Attempt, data: bytes) -> None:
        rules = self.crawl.rules
        attempt.sha256 = hashlib.sha256(data).hexdigest()
        info = verify(data, min_side=rules.min_side, max_pixels=rules.max_pixels)
        attempt.format, attempt.width, attempt.height = info.format, info.width, info.height

    def _record_retry(self, attempt: Attempt, why: Rejected, wait_s: float) -> None:
        failed = replace(attempt)
        _record_refusal(failed, why)
        failed.outcome = "retry"
        failed.detail = f"{failed.detail or ''} (retry in {wait_s:.1f} s)".strip()
        self.storage.add(failed)


def _record_refusal(attempt: Attempt, refusal: Rejected) -> None:
    """Record a refusal in an attempt, and what the refusal says of the response and the image."""
    attempt.outcome = "refused"
    attempt.reason, attempt.detail = refusal.reason, refusal.detail or None
    if isinstance(refusal, HttpRejected):
        attempt.final_url, attempt.status = refusal.url, refusal.status
        attempt.content_type = refusal.content_type
    if size := re.match(r"(\d+)x(\d+)\b", refusal.detail):
        attempt.width, attempt.height = int(size[1]), int(size[2])
    elif size := re.match(r"(\d+) bytes declared", refusal.detail):
        attempt.bytes = int(size[1])


class Crawl(Crawler):
    """The crawl of one class: `run` returns when the quota is full or no results are left.

    After that, `errors` has the streams that ended with an error, and `found` counts the results.
    An interrupted run closes `session` for good.
    """

    def __init__(
        self,
        dance: str,
        ledger: Ledger,
        session: GuardedSession,
        *,
        wanted: int,
        limits: Limits,
        threads: int = 16,
        rules: Rules,
        politeness: Politeness | None = None,  # towards image hosts
        engine_politeness: Politeness | None = None,
        stopping: threading.Event | None = None,
        note: Callable[[Attempt], None] = lambda _: None,
    ) -> None:
        self.dance, self.ledger, self.guarded = dance, ledger, session
        self.rules, self.limits = rules, limits
        self.politeness = politeness or NoPoliteness()
        self.engine_politeness = engine_politeness or NoPoliteness()
        self.note = note
        self.quota = Quota(wanted, len(ledger.stored))
        self.stopping = stopping or threading.Event()
        self.streams: Sequence[Stream] = ()
        self._failure: BaseException | None = None
        super().__init__(
            StreamFeeder,
            StreamParser,
            LedgerDownloader,
            downloader_threads=threads,
            extra_parser_args={"crawl": self},
            extra_downloader_args={"crawl": self},
        )

    def set_logger(self, log_level: int = logging.INFO) -> None:
        """Leave the logging of the process as it is."""
        self.logger = logging.getLogger(__name__)

    def set_session(self, headers: Any = None) -> None:
        """Use the guarded session for the feeder, the parser and the downloader."""
        self.session = self.guarded

    def set_storage(self, storage: Any) -> None:
        """Use the ledger as the storage."""
        self.storage = self.ledger

    def run(self, streams: Sequence[Stream]) -> None:
        """Crawl the streams.

        Raises the error that stopped a thread, such as a full disk, and passes on an interrupt.
        """
        self.streams = streams
        pools = (self.feeder, self.parser, self.downloader)
        workers = itertools.chain.from_iterable
        try:
            self.feeder.start(streams=streams)
            self.parser.start()
            self.downloader.start()
            for worker in workers(pool.workers for pool in pools):
                worker.join()
        finally:
            if any(pool.is_alive() for pool in pools):
                self._stop()
            deadline = time.monotonic() + JOIN_S
            for worker in workers(pool.workers for pool in pools):
                worker.join(max(0.0, deadline - time.monotonic()))
            self.downloader.close()
        if self._failure:
            raise self._failure

    def fail(self, error: BaseException) -> None:
        """End the crawl with an error; `run` raises the first one."""
        self._failure = self._failure or error
        self._stop()

    def _stop(self) -> None:
        self.stopping.set()
        self.quota.stop()
        self.guarded.cut()
        self.dismiss()

    def dismiss(self) -> None:
        """Let each downloader thread end once it has taken what is in the queue."""
        for _ in range(self.downloader.thread_num):
            self.downloader.in_queue.put(None)

    def fetch_page(self, url: str) -> bytes:
        """Return the body of an engine's page. Raises EngineError if there is none."""
        try:
            return get(
                self.guarded,
                url,
                self.limits,
                politeness=self.engine_politeness,
                stop=self.stopping,
            ).body
        except Rejected as refusal:
            is_blocked = refusal.reason in ("http-429", "http-403")
            raise EngineError("blocked" if is_blocked else "unreachable", str(refusal)) from refusal

    def is_licensed(self, result: Result) -> bool:
        """Return whether the licence of a result allows the crawl to store its image."""
        return self.rules.is_licensed(result.licence)

    def is_settled(self, result: Result) -> bool:
        """Return whether a search result needs no request because an earlier attempt settled it."""
        return self.ledger.is_settled(
            result.url, lambda attempt: self.rules.still_refuse(attempt, result)
        )

    def attempt(self, found: RankedResult) -> Attempt:
        """Return a new line for the ledger, without its outcome."""
        result = found.result
        return Attempt(
            dance=self.dance,
            engine=found.engine,
            query=found.query,
            rank=found.rank,
            source_url=result.url,
            page_url=result.page_url,
            licence=result.licence,
            licence_url=result.licence_url,
            creator=result.creator,
            attribution=result.attribution,
        )

    @property
    def errors(self) -> list[tuple[Stream, EngineError]]:
        """The streams that ended with an error."""
        return self.parser.errors

    @property
    def found(self) -> int:
        """How many results the engines gave."""
        return self.parser.found
