"""Stage: a dance's pictures from search engines, with a ledger of every attempt."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import yaml

from pipeline.core.errors import PipelineError, Stage
from pipeline.core.files import write_json
from pipeline.core.params import Crawl as CrawlParams
from pipeline.core.params import Dance, Params, load_params
from pipeline.core.progress import Progress
from pipeline.crawl.crawler import Crawl, Rules
from pipeline.crawl.engines import Bing, Engine, Flickr, Openverse, UrlList, Wikimedia
from pipeline.crawl.search import Stream
from pipeline.dataset.ledger import Attempt, Ledger
from pipeline.dataset.paths import LOCK, dataset_folder, reports_folder
from pipeline.http.polite_session import PoliteSession

# Exit codes: why there are fewer pictures than crawl.min_images. 2 is click's, for wrong usage.
UNREACHABLE = 3  # no answer from any engine
BLOCKED = 4  # the engines answer, and refuse us
NO_RESULTS = 5  # they know no such pictures
TOO_FEW = 6  # too few of their pictures could be stored
CHANGED = 7  # their answers have a form that we do not know
INTERRUPTED = 130  # Ctrl-C, as a shell counts it
TERMINATED = 143  # SIGTERM


@click.command(cls=Stage)
@click.argument("dance")
@click.option(
    "--anew",
    is_flag=True,
    help="Begin with nothing, though dvc.lock knows pictures of this dance.",
)
def main(dance: str, anew: bool) -> None:
    """Search for a dance's pictures and download them.

    Goes on where it stopped: what the ledger has is not asked for again, and with enough pictures
    nothing is asked at all. Exit codes: 3 no engine answers, 4 blocked, 5 no results, 6 fewer
    pictures than crawl.min_images, 7 unknown answers, 130 and 143 interrupted.

    \b
    Example:
      kalai crawl kathak
    """
    params = load_params()
    chosen = _dance(params, dance)
    folder = dataset_folder("dances") / "crawl" / dance
    if not anew:
        refuse_lost_folder(dance, folder)
    report = reports_folder("dances") / f"crawl-{dance}.json"
    with _terminable(), Ledger(folder, params.crawl.licences) as ledger:
        started = time.monotonic()
        try:
            crawl = _run(dance, chosen, params.crawl, ledger)
        finally:
            result = ledger.report(params.crawl.max_images)
            write_json(report, result)
            click.echo(last_line(dance, result, time.monotonic() - started))
    if crawl is not None:
        judge(dance, crawl, params.crawl)


def _dance(params: Params, dance: str) -> Dance:
    if dance not in params.dances:
        names = ", ".join(params.dances)
        raise PipelineError(f"unknown dance {dance!r}; params.yaml has: {names}")
    return params.dances[dance]


def refuse_lost_folder(dance: str, folder: Path, lock: Path = LOCK) -> None:
    """Raise PipelineError where dvc.lock records pictures of a dance and its folder has none.

    DVC would take an empty folder for a wish to crawl from nothing.
    """
    if any(folder.glob("images/*")) or not lock.exists():
        return
    stages = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages", {})
    outs = stages.get(f"crawl@{dance}", {}).get("outs", [])
    recorded = sum(out.get("nfiles", 0) for out in outs)
    if recorded:
        raise PipelineError(
            f"{folder}: empty, but dvc.lock records {recorded} files; get them back with "
            f"`dvc checkout` or `dvc pull` (or crawl from nothing: kalai crawl {dance} --anew)"
        )


def _run(dance: str, chosen: Dance, params: CrawlParams, ledger: Ledger) -> Crawl | None:
    """Crawl until there is enough; None when there was enough before."""
    if len(ledger.stored) >= params.max_images:
        return None
    streams = make_streams(dance, chosen, params)
    with Progress(f"crawl {dance}", params.max_images) as progress, PoliteSession(params) as polite:
        progress.advance(len(ledger.stored))
        crawl = Crawl(
            dance,
            ledger,
            polite.session,
            wanted=params.max_images,
            threads=params.threads,
            rules=rules_of(params),
            limits=polite.limits,
            politeness=polite.politeness,
            engine_politeness=polite.engine_politeness,
            stopping=polite.stop,
            note=_note(progress),
        )
        crawl.run(streams)
    return crawl


def rules_of(params: CrawlParams) -> Rules:
    """Return what the params want of a picture."""
    return Rules(
        min_side=params.min_side,
        max_pixels=params.max_pixels,
        max_bytes=params.max_bytes,
        licences=frozenset(params.licences),
        robots=params.robots,
        opt_out=params.opt_out,
    )


def make_streams(dance: str, chosen: Dance, params: CrawlParams) -> list[Stream]:
    """Return every query to every engine of a dance. Raises PipelineError for what is not set."""
    streams = []
    for name in dict.fromkeys(chosen.engines or params.engines):
        if name == "urls":
            if chosen.urls is None:
                raise PipelineError(f"params.yaml: dances.{dance}.urls: missing, for engine urls")
            streams.append(Stream(UrlList(), chosen.urls))
            continue
        home = params.engine_url and params.engine_url.rstrip("/")
        engine: Engine
        if name == "bing":
            engine = Bing(home, params.filters)
        elif name == "openverse":
            engine = Openverse(home, params.licences)
        elif name == "wikimedia":
            engine = Wikimedia(home)
        else:
            engine = Flickr(home)
        streams += [Stream(engine, query) for query in chosen.queries]
    return streams


def _note(progress: Progress) -> Any:
    """Return what shows an attempt's end; threads share it."""
    refused: Counter[str] = Counter()
    lock = threading.Lock()

    def note(attempt: Attempt) -> None:
        with lock:
            if attempt.outcome != "stored":
                refused[attempt.reason or attempt.outcome] += 1
            progress.advance(attempt.outcome == "stored", top(refused))

    return note


def top(reasons: dict[str, int], count: int = 3) -> str:
    """Return the most frequent reasons as text: "http-404 20, too-small 10, ..."."""
    named = [f"{reason} {number}" for reason, number in Counter(reasons).most_common(count)]
    return ", ".join([*named, "..."] if len(reasons) > count else named)


def last_line(dance: str, result: dict[str, Any], seconds: float) -> str:
    """Return a crawl's last line: asked, stored, refused by the top three reasons, seconds."""
    refused = sum(result["refused"].values())
    why = f" ({top(result['refused'])})" if refused else ""
    return (
        f"{dance}: asked {result['asked']}, stored {result['stored']}, "
        f"refused {refused}{why}, {seconds:.1f} s"
    )


def judge(dance: str, crawl: Crawl, params: CrawlParams) -> None:
    """Say what went wrong with the engines; raise PipelineError when that left too few pictures."""
    stored = len(crawl.ledger.stored)
    troubles = [f"{stream.engine.name}: {trouble}" for stream, trouble in crawl.troubles]
    if stored >= params.min_images:
        for line in dict.fromkeys(troubles):
            click.echo(f"warning: {line}", err=True)
        return
    kinds = {trouble.kind for _, trouble in crawl.troubles}
    code = TOO_FEW
    if not crawl.found:
        codes = {"blocked": BLOCKED, "changed": CHANGED, "unreachable": UNREACHABLE}
        code = next((code for kind, code in codes.items() if kind in kinds), NO_RESULTS)
    what = "; ".join(dict.fromkeys(troubles)) or "the engines have no more results"
    raise PipelineError(
        f"{dance}: {stored} pictures, fewer than crawl.min_images {params.min_images}: {what}", code
    )


@contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into an orderly end with a line and their exit code."""

    def terminate(*_: object) -> None:
        raise _TerminatedError

    is_main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, terminate) if is_main else None
    try:
        yield
    except KeyboardInterrupt:
        raise PipelineError(
            "interrupted; what is stored stays, run again to go on", INTERRUPTED
        ) from None
    except _TerminatedError:
        raise PipelineError(
            "terminated; what is stored stays, run again to go on", TERMINATED
        ) from None
    finally:
        if is_main:
            signal.signal(signal.SIGTERM, before)


class _TerminatedError(BaseException):
    """SIGTERM came."""
