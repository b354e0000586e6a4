"""icrawler's feeder, parser and downloader, made exact.

    feeder --streams--> parser --pictures in order of rank--> downloader --> ledger

The set of pictures depends on the engines' answers alone and not on how fast each one comes:
pictures are begun in order of rank, and never more of them at once than are still wanted.
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
from dataclasses import dataclass, replace
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from icrawler import Crawler, ImageDownloader

from pipeline.core.errors import Rejected
from pipeline.crawl.engines import EngineTrouble, Result
from pipeline.crawl.quota import Quota
from pipeline.crawl.search import Found, Stream, StreamFeeder, StreamParser
from pipeline.dataset.ledger import Attempt, Ledger, is_licensed
from pipeline.http.client import GuardedSession, HttpRejected, Limits, NoPoliteness, Politeness, get
from pipeline.images.normalise import verify

ACCEPT = {"Accept": "image/*", "Accept-Encoding": "identity"}  # pictures are compressed already
SPOOL_BYTES = 1_000_000  # a picture under way is held in memory up to here, on the disk beyond
# Verifying needs a processor and the whole picture in memory: few do it, however many threads
# fetch, and those go on fetching meanwhile.
STORERS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class Rules:
    """What a picture must be to be stored."""

    min_side: int = 1  # pixels
    max_pixels: int = 50_000_000
    max_bytes: int = 20_000_000
    licences: frozenset[str] = frozenset()  # empty: any, and none too
    robots: bool = True  # what the politeness rules honour
    opt_out: bool = True

    def still_refuse(self, attempt: Attempt, result: Result) -> bool:
        """Say whether what was refused once would be, as it is found now, by these rules."""
        if attempt.reason == "too-small" and attempt.width and attempt.height:
            return min(attempt.width, attempt.height) < self.min_side
        if attempt.reason == "too-many-pixels" and attempt.width and attempt.height:
            return attempt.width * attempt.height > self.max_pixels
        if attempt.reason == "too-large" and attempt.bytes:
            return attempt.bytes > self.max_bytes
        if attempt.reason == "licence":
            return not self.is_licensed(result.licence)
        return {"robots": self.robots, "opt-out": self.opt_out}.get(str(attempt.reason), True)

    def is_licensed(self, licence: str | None) -> bool:
        """Say whether a picture under this licence may be stored."""
        return is_licensed(licence, self.licences)


class LedgerDownloader(ImageDownloader):
    """Fetches, verifies and stores pictures; every attempt is a line of the ledger."""

    def __init__(
        self, threads: int, signal: Any, session: GuardedSession, storage: Ledger, crawl: Crawl
    ) -> None:
        super().__init__(threads, signal, session, storage)
        self.crawl = crawl
        self._storers = ThreadPoolExecutor(STORERS, thread_name_prefix="storer")
        self._room = threading.Semaphore(2 * STORERS + threads)  # fetched, and not yet stored
        self._turn = threading.Lock()

    def worker_exec(self, **_: Any) -> None:
        """Make pictures until there is nothing more to begin."""
        while (found := self._next()) is not None:
            self.download(found)

    def _next(self) -> Found | None:
        # Taken and begun by one thread at a time, so that pictures begin in order of rank.
        with self._turn:
            found = self.in_queue.get()
            return found if found is not None and self.crawl.quota.begin() else None

    def download(self, task: Found, *_: Any, **__: Any) -> None:
        """Fetch a picture that has begun; it is verified and stored while others are fetched."""
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
        """Write what became of an attempt, and let the next begin."""
        try:
            file.close()
            if isinstance(problem, Rejected) and problem.reason != "stopped":
                _refuse(attempt, problem)
                self.storage.add(attempt)
                problem = None
            if problem is None:
                self.crawl.note(attempt)
            elif not isinstance(problem, Rejected):
                raise problem
        except BaseException as error:  # a full disk, or a fault of ours: the crawl ends with it
            self.crawl.fail(error)
        self.crawl.quota.end(is_new=attempt.outcome == "stored")
        if self.crawl.quota.is_full:
            self.crawl.dismiss()

    def close(self) -> None:
        """Wait until all that was fetched is stored."""
        self._storers.shutdown()

    def _fetch(self, attempt: Attempt, file: IO[bytes]) -> None:
        if not self.crawl.rules.is_licensed(attempt.licence):
            raise Rejected("licence", f"{attempt.licence or 'none'} is known of it")
        fetched = get(
            self.session,
            attempt.source_url,
            self.crawl.limits,
            headers=ACCEPT,
            into=file,
            politeness=self.crawl.politeness,
            stop=self.crawl.stopping,
            on_retry=lambda why, wait_s: self._retry(attempt, why, wait_s),
        )
        attempt.final_url, attempt.status = fetched.url, fetched.status
        attempt.content_type, attempt.bytes = fetched.content_type, fetched.size

    def _verify(self, attempt: Attempt, data: bytes) -> None:
        rules = self.crawl.rules
        attempt.sha256 = hashlib.sha256(data).hexdigest()
        info = verify(data, min_side=rules.min_side, max_pixels=rules.max_pixels)
        attempt.format, attempt.width, attempt.height = info.format, info.width, info.height

    def _retry(self, attempt: Attempt, why: Rejected, wait_s: float) -> None:
        again = replace(attempt)
        _refuse(again, why)
        again.outcome = "retry"
        again.detail = f"{again.detail or ''} (again in {wait_s:.1f} s)".strip()
        self.storage.add(again)


def _refuse(attempt: Attempt, refusal: Rejected) -> None:
    """Write a refusal into an attempt, with what it tells of the answer and the picture."""
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
    """One dance's crawl: `run` returns when the quota is full or the engines have no more.

    `troubles` then says which streams ended in trouble and `found` how many results there were.
    `session` is used up by a run that was interrupted.
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
        rules: Rules = Rules(),
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
        self.streams_count = 0
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
        """Leave the process's logging alone."""
        self.logger = logging.getLogger(__name__)

    def set_session(self, headers: Any = None) -> None:
        """Use the guarded session, which the feeder, parser and downloader are given."""
        self.session = self.guarded

    def set_storage(self, storage: Any) -> None:
        """Store by the ledger."""
        self.storage = self.ledger

    def run(self, streams: Sequence[Stream]) -> None:
        """Crawl. Raises what stopped a thread (a full disk) and passes on an interrupt."""
        self.streams_count = len(streams)
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
            patience = time.monotonic() + 5  # a name being resolved cannot be interrupted
            for worker in workers(pool.workers for pool in pools):
                worker.join(max(0.0, patience - time.monotonic()))
            self.downloader.close()
        if self._failure:
            raise self._failure

    def fail(self, error: BaseException) -> None:
        """End the crawl with an error; the first one is raised by `run`."""
        self._failure = self._failure or error
        self._stop()

    def _stop(self) -> None:
        self.stopping.set()
        self.quota.stop()
        self.guarded.cut()
        self.dismiss()

    def dismiss(self) -> None:
        """Let every downloader thread go once it has seen what is in the queue."""
        for _ in range(self.downloader.thread_num):
            self.downloader.in_queue.put(None)

    def is_settled(self, result: Result) -> bool:
        """Say whether the ledger has the last word on a picture."""
        return self.ledger.is_settled(
            result.url, lambda attempt: self.rules.still_refuse(attempt, result)
        )

    def attempt(self, found: Found) -> Attempt:
        """Return the beginning of a ledger line."""
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
    def troubles(self) -> list[tuple[Stream, EngineTrouble]]:
        """The streams that ended in trouble."""
        return self.parser.troubles

    @property
    def found(self) -> int:
        """How many results the engines gave."""
        return self.parser.found
