"""Stage: the images of one class from search engines, with a ledger of every attempt."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
import yaml

from pipeline.core.errors import PipelineError, Stage
from pipeline.core.files import write_json
from pipeline.core.params import Crawl as CrawlParams
from pipeline.core.params import Dance, Params, load_params
from pipeline.core.progress import Progress
from pipeline.crawl.crawler import Crawl
from pipeline.crawl.engines.registry import engines_for
from pipeline.crawl.rules import Rules
from pipeline.crawl.search import Stream
from pipeline.dataset.ledger import Attempt, Ledger
from pipeline.dataset.paths import LOCK, crawl_folder, crawl_images_folder, crawl_report_path
from pipeline.http.polite_session import PoliteSession

DATASET = "dances"

# Exit codes: why there are fewer images than crawl.min_images. click uses 2 for wrong usage.
UNREACHABLE = 3  # no engine answers
BLOCKED = 4  # the engines refuse the requests
NO_RESULTS = 5  # the engines know no image for the queries
TOO_FEW = 6  # there are results, but too few images that can be stored
CHANGED = 7  # the engines answer in an unknown format
INTERRUPTED = 130  # Ctrl-C; the code that shells use
TERMINATED = 143  # SIGTERM

ADVICE = {
    UNREACHABLE: "check the network and run again",
    BLOCKED: "wait before you run again, or use other engines (crawl.engines)",
    NO_RESULTS: "use other queries or other engines (crawl.engines)",
    TOO_FEW: "add queries or engines, or lower crawl.min_images",
    CHANGED: "use other engines (crawl.engines)",
}


@click.command(cls=Stage)
@click.argument("dance")
@click.option(
    "--anew",
    is_flag=True,
    help="Crawl from nothing if the folder has no images, even if dvc.lock records some.",
)
def main(dance: str, anew: bool) -> None:
    """Search for images of one class and download them.

    DANCE is a key of the section dances in params.yaml. A second run continues the first: it
    requests no URL that the ledger has settled, and nothing at all if there are enough images.

    \b
    Exit codes:
      3         no engine answers
      4         the engines refuse the requests
      5         the engines have no results
      6         fewer images than crawl.min_images could be stored
      7         the engines answer in an unknown format
      130, 143  interrupted, terminated

    \b
    Example:
      kalai crawl kathak
    """
    params = load_params()
    entry = _entry(params, dance)
    if not anew:
        _refuse_lost_folder(dance)
    folder = crawl_folder(DATASET) / dance
    with _orderly_end(), Ledger(folder, params.crawl.licences) as ledger:
        started = time.monotonic()
        try:
            crawl = _run(dance, entry, params.crawl, ledger)
        finally:
            result = ledger.report(params.crawl.max_images)
            write_json(crawl_report_path(DATASET, dance), result)
            click.echo(last_line(dance, result, time.monotonic() - started))
    if crawl is not None:
        check_outcome(dance, crawl, params.crawl)


def _entry(params: Params, dance: str) -> Dance:
    if dance not in params.dances:
        names = ", ".join(params.dances)
        raise PipelineError(f"unknown dance {dance!r}; params.yaml has: {names}")
    return params.dances[dance]


def _refuse_lost_folder(dance: str) -> None:
    """Raise PipelineError if dvc.lock records images of a class but the class's folder has none.

    Otherwise the crawl would start again from nothing.
    """
    images = crawl_images_folder(DATASET, dance)
    if any(images.glob("*")) or not LOCK.exists():
        return
    stages = (yaml.safe_load(LOCK.read_text(encoding="utf-8")) or {}).get("stages", {})
    outs = stages.get(f"crawl@{dance}", {}).get("outs", [])
    recorded = sum(out.get("nfiles", 0) for out in outs)
    if recorded:
        raise PipelineError(
            f"{images}: no images, but {LOCK} records {recorded} files; run `dvc checkout` or "
            f"`dvc pull` to restore them, or `kalai crawl {dance} --anew` to crawl from scratch"
        )


def _run(dance: str, entry: Dance, params: CrawlParams, ledger: Ledger) -> Crawl | None:
    """Crawl until there are enough images; return None if there were enough before."""
    if len(ledger.stored) >= params.max_images:
        return None
    streams = [
        Stream(engine, query)
        for engine in engines_for(dance, entry, params)
        for query in engine.queries(entry)
    ]
    with Progress(f"crawl {dance}", params.max_images) as progress, PoliteSession(params) as polite:
        progress.advance(len(ledger.stored))
        crawl = Crawl(
            dance,
            ledger,
            polite.session,
            wanted=params.max_images,
            threads=params.threads,
            rules=Rules.from_params(params),
            limits=polite.limits,
            politeness=polite.politeness,
            engine_politeness=polite.engine_politeness,
            stopping=polite.stop,
            note=_note(progress),
        )
        crawl.run(streams)
    return crawl


def _note(progress: Progress) -> Callable[[Attempt], None]:
    """Return a function that shows an attempt's outcome in `progress`; threads share it."""
    refused: Counter[str] = Counter()
    lock = threading.Lock()

    def note(attempt: Attempt) -> None:
        with lock:
            if attempt.outcome != "stored":
                refused[attempt.reason or attempt.outcome] += 1
            progress.advance(attempt.outcome == "stored", top(refused))

    return note


def top(reasons: Mapping[str, int], count: int = 3) -> str:
    """Return the most frequent reasons as text: "http-404 20, too-small 10, ..."."""
    named = [f"{reason} {number}" for reason, number in Counter(reasons).most_common(count)]
    return ", ".join([*named, "..."] if len(reasons) > count else named)


def last_line(dance: str, result: Mapping[str, Any], seconds: float) -> str:
    """Return a crawl's last line: images stored, URLs refused (with three reasons), seconds."""
    refused = sum(result["refused"].values())
    why = f" ({top(result['refused'])})" if refused else ""
    return (
        f"{dance}: {result['stored']} images stored, {result['asked']} wanted; "
        f"{refused} URLs refused{why}; {seconds:.1f} s"
    )


def check_outcome(dance: str, crawl: Crawl, params: CrawlParams) -> None:
    """Warn about engines that failed; raise PipelineError if there are too few images."""
    stored = len(crawl.ledger.stored)
    errors = dict.fromkeys(f"{stream.engine.name}: {error}" for stream, error in crawl.errors)
    if stored >= params.min_images:
        for line in errors:
            click.echo(f"warning: {line}", err=True)
        return
    kinds = {error.kind for _, error in crawl.errors}
    code = TOO_FEW
    if not crawl.found:
        codes = {"blocked": BLOCKED, "changed": CHANGED, "unreachable": UNREACHABLE}
        code = next((code for kind, code in codes.items() if kind in kinds), NO_RESULTS)
    failed = {stream.engine.name for stream, _ in crawl.errors}
    empty = [
        f"{stream.engine.name}: no results for {stream.query!r} ({stream.engine.no_results})"
        for stream in crawl.streams
        if not crawl.found and stream.engine.name not in failed
    ]
    why = "; ".join([*errors, *empty]) or f"the engines have no more than {crawl.found} results"
    raise PipelineError(
        f"{dance}: {stored} images stored, but crawl.min_images is {params.min_images}: {why}; "
        f"{ADVICE[code]}",
        code,
    )


@contextmanager
def _orderly_end() -> Iterator[None]:
    """Turn SIGINT and SIGTERM each into an error line with its own exit code."""

    def terminate(*_: object) -> None:
        raise _TerminatedError

    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, terminate) if is_main else None
    try:
        yield
    except KeyboardInterrupt:
        raise PipelineError(
            "interrupted; stored images are kept, run again to continue", INTERRUPTED
        ) from None
    except _TerminatedError:
        raise PipelineError(
            "terminated; stored images are kept, run again to continue", TERMINATED
        ) from None
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)


class _TerminatedError(BaseException):
    """SIGTERM was received."""
