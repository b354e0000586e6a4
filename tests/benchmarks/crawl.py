"""How fast kalai crawls beside others, how much memory it takes, and whether it lasts.

    python tests/benchmarks/crawl.py                    the table: 500 pictures, 4, 16, 32 threads
    python tests/benchmarks/crawl.py --check            the same, failing below the goals
    python tests/benchmarks/crawl.py --pictures 2000    what asking robots.txt first costs less of
    python tests/benchmarks/crawl.py --memory           64 threads, pictures of 20 MB
    python tests/benchmarks/crawl.py --soak             20,000 pictures of 50 hosts, 5% faults

The web is a process of its own on the loopback. All downloaders get the same list of URLs; kalai
verifies, hashes and records each picture and honours robots.txt besides. img2dataset is measured
where `--img2dataset` names a Python that has it.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

LATENCY_S = 0.15
GOAL = 0.95  # of the thread pool's rate
MEMORY_GOAL_MB = 300


# ---- the web, in a process of its own


def noise_jpeg(seed: int, size: int) -> bytes:
    """Return a JPEG of about `size` bytes that no other seed gives."""
    import numpy as np
    from PIL import Image

    side = max(110, round((size / 0.63) ** 0.5))  # so many bytes a pixel does noise take
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=75)
    return buffer.getvalue()


class Web:
    """Answers /<number>.jpg after a latency; the soak's numbers have faults of their own."""

    def __init__(self, size: int, latency_s: float, faults: bool) -> None:
        self.size, self.latency_s, self.faults = size, latency_s, faults
        self.bodies: dict[int, bytes] = {}
        self.seen: set[int] = set()

    def body(self, number: int) -> bytes:
        """Return a picture; the large ones share their bytes but for the last."""
        if self.size > 1_000_000:
            if not self.bodies:
                self.bodies[0] = noise_jpeg(0, self.size)
            return self.bodies[0] + number.to_bytes(4, "big")
        if self.faults:  # small and many: one picture, told apart by what follows it
            if not self.bodies:
                self.bodies[0] = noise_jpeg(0, self.size)
            return self.bodies[0] + number.to_bytes(4, "big")
        if number not in self.bodies:
            self.bodies[number] = noise_jpeg(number, self.size)
        return self.bodies[number]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while line := await reader.readline():
                while (await reader.readline()).strip():
                    pass
                await asyncio.sleep(self.latency_s)
                path = line.split()[1].decode()
                if not await self.answer(path, writer):
                    break
                await writer.drain()
        except (ConnectionError, IndexError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def answer(self, path: str, writer: asyncio.StreamWriter) -> bool:
        """Write an answer; return whether the connection stays."""
        name = path.strip("/").removesuffix(".jpg")
        if not name.isdigit():
            reply(writer, b"", "404 Not Found")
            return True
        number = int(name)
        fault = fault_of(number) if self.faults else None
        is_first = number not in self.seen
        self.seen.add(number)
        if fault == "404":
            reply(writer, b"", "404 Not Found")
        elif fault == "503 once" and is_first:
            reply(writer, b"", "503 Service Unavailable")
        elif fault == "html":
            reply(writer, b"<!DOCTYPE html><p>gone</p>")
        elif fault == "cut":
            reply(writer, self.body(number)[: self.size // 2])
        elif fault == "reset once" and is_first:
            return False
        elif fault == "same":
            reply(writer, self.body(0))
        else:
            reply(writer, self.body(number))
        return True


FAULTS = ("404", "503 once", "html", "cut", "reset once", "same")


def fault_of(number: int) -> str | None:
    """Return the fault of one in twenty pictures."""
    return FAULTS[number // 20 % len(FAULTS)] if number % 20 == 7 else None


def reply(writer: asyncio.StreamWriter, body: bytes, status: str = "200 OK") -> None:
    """Write a whole answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nContent-Type: image/jpeg\r\n\r\n"
    writer.write(head.encode() + body)


async def web_main(count: int, size: int, latency_s: float, faults: bool, hosts: int) -> None:
    """Serve until stdin ends; tell the port on stdout."""
    web = Web(size, latency_s, faults)
    for number in range(count if size <= 1_000_000 and not faults else 1):
        web.body(number)
    server = await asyncio.start_server(web.serve, "127.0.0.1", 0, backlog=512)
    port = server.sockets[0].getsockname()[1]
    for last in range(2, hosts + 1):  # every 127.x.x.x is this machine, on Linux
        await asyncio.start_server(web.serve, f"127.0.0.{last}", port, backlog=512)
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextmanager
def web(
    count: int, size: int, *, latency_s: float = LATENCY_S, faults: bool = False, hosts: int = 1
) -> Iterator[list[str]]:
    """Run a web for the length of a block; give the URLs of its pictures."""
    arguments = json.dumps([count, size, latency_s, faults, hosts])
    process = subprocess.Popen(
        [sys.executable, __file__, "--web", arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout
    try:
        port = int(process.stdout.readline())
        yield [f"http://127.0.0.{1 + n % hosts}:{port}/{n}.jpg" for n in range(count)]
    finally:
        process.stdin.close()
        process.wait(timeout=30)


# ---- those who download


def kalai(urls: Sequence[str], threads: int, folder: Path, **changes: Any) -> dict[str, Any]:
    """Crawl a list with the stage's own parts, all checks on; return its report."""
    from pipeline.core.params import Crawl as Params
    from pipeline.crawl.crawler import Crawl
    from pipeline.crawl.engines.urls import UrlList
    from pipeline.crawl.rules import Rules
    from pipeline.crawl.search import Stream
    from pipeline.dataset.ledger import Ledger
    from pipeline.http.polite_session import PoliteSession

    (folder / "urls.txt").write_text("\n".join(urls))
    allowed = sorted({url.split("/")[2] for url in urls})
    wanted = changes.pop("wanted", len(urls))
    params = Params(
        max_images=wanted,
        min_images=0,
        threads=threads,
        per_host=changes.pop("per_host", threads),
        host_delay_s=0.0,
        allow_hosts=allowed,
        **changes,
    )
    with Ledger(folder / "kalai") as ledger, PoliteSession(params) as polite:
        crawl = Crawl(
            "benchmark",
            ledger,
            polite.session,
            wanted=wanted,
            threads=threads,
            rules=Rules(params.min_side, params.max_pixels, params.max_bytes),
            limits=polite.limits,
            politeness=polite.politeness,
            stopping=polite.stop,
        )
        crawl.run([Stream(UrlList(), str(folder / "urls.txt"))])
        return ledger.report(wanted)


def icrawler(urls: Sequence[str], threads: int, folder: Path) -> None:
    """Download a list with icrawler as it comes."""
    import logging

    from icrawler.builtin import UrlListCrawler

    crawler = UrlListCrawler(
        downloader_threads=threads,
        storage={"root_dir": str(folder / "icrawler")},
        log_level=logging.CRITICAL,
    )
    crawler.crawl(list(urls))


def pool(urls: Sequence[str], threads: int, folder: Path) -> None:
    """Download a list with a bare pool of threads, each with a session of requests."""
    import requests

    local = threading.local()
    target = folder / "pool"
    target.mkdir()

    def one(numbered: tuple[int, str]) -> None:
        number, url = numbered
        if not hasattr(local, "session"):
            local.session = requests.Session()
        response = local.session.get(url, timeout=30)
        if response.status_code == 200:
            (target / f"{number}.jpg").write_bytes(response.content)

    with ThreadPoolExecutor(threads) as executor:
        list(executor.map(one, enumerate(urls)))


def img2dataset(python: str) -> Callable[[Sequence[str], int, Path], None]:
    """Return a download with img2dataset by another Python."""
    code = (
        "import sys, json; from img2dataset import download; a = json.loads(sys.argv[1]);"
        "download(url_list=a['list'], output_folder=a['to'], thread_count=a['threads'],"
        " processes_count=1, resize_mode='no', disable_all_reencoding=True, output_format='files',"
        " number_sample_per_shard=100000, retries=0, timeout=30)"
    )

    def run(urls: Sequence[str], threads: int, folder: Path) -> None:
        (folder / "urls.txt").write_text("\n".join(urls))
        told = {"list": str(folder / "urls.txt"), "to": str(folder / "img2"), "threads": threads}
        subprocess.run(
            [python, "-c", code, json.dumps(told)],
            check=True,
            capture_output=True,
            env=os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"},
        )

    return run


def stored(folder: Path) -> int:
    """Count the pictures under a folder."""
    return sum(1 for path in folder.rglob("*.jpg") if path.stat().st_size)


# ---- what is measured


def race(
    rounds: int, counts: Sequence[int], pictures: int, python: str | None
) -> dict[int, dict[str, float]]:
    """Time everyone, in turn; return the median rates (pictures a second) by threads and name."""
    runners: dict[str, Callable[[Sequence[str], int, Path], Any]] = {
        "kalai": kalai,
        "ThreadPool+requests": pool,
        "icrawler": icrawler,
    }
    if python:
        runners["img2dataset"] = img2dataset(python)
    for module in ("icrawler.builtin", "requests", "pipeline.crawl"):
        importlib.import_module(module)  # before the clock runs
    rates: dict[int, dict[str, list[float]]] = {n: {name: [] for name in runners} for n in counts}
    with web(pictures, 75_000) as urls:
        for turn in range(rounds):
            for threads in counts:
                for name in random.Random(turn).sample(list(runners), len(runners)):
                    with tempfile.TemporaryDirectory() as temporary:
                        started = time.perf_counter()
                        runners[name](urls, threads, Path(temporary))
                        seconds = time.perf_counter() - started
                        got = stored(Path(temporary))
                    rates[threads][name].append(got / seconds)
                    click.echo(f"  {threads:2} threads {name}: {got} in {seconds:.2f} s", err=True)
    return {
        threads: {name: statistics.median(values) for name, values in of.items()}
        for threads, of in rates.items()
    }


def table(rates: dict[int, dict[str, float]]) -> str:
    """Return the rates as a Markdown table, with the share of the pool's."""
    names = list(next(iter(rates.values())))
    lines = ["| images/s | " + " | ".join(f"{n} threads" for n in rates) + " |"]
    lines.append("|---|" + "---:|" * len(rates))
    for name in names:
        cells = [
            f"{of[name]:.0f} ({of[name] / of['ThreadPool+requests']:.2f})" for of in rates.values()
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def peak_mb() -> float:
    """Return the most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_mb() -> float:
    """Return the memory this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def memory() -> float:
    """Crawl 128 pictures of 20 MB with 64 threads; return the peak in MB."""
    with web(128, 19_900_000, latency_s=0.0) as urls, tempfile.TemporaryDirectory() as temporary:
        started = time.perf_counter()
        report = kalai(urls, 64, Path(temporary), timeout_s=300.0)
        seconds = time.perf_counter() - started
    assert report["stored"] == 128, report
    click.echo(f"128 pictures of 20 MB, 64 threads: {seconds:.0f} s, peak {peak_mb():.0f} MB")
    return peak_mb()


def soak(count: int) -> list[float]:
    """Crawl many small pictures with faults among them; return the memory along the way, in MB."""
    expected = dict.fromkeys(FAULTS, 0)
    for number in range(count):
        if fault := fault_of(number):
            expected[fault] += 1
    held: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(1.0):
            held.append(resident_mb())

    with web(count, 12_000, latency_s=0.01, faults=True, hosts=50) as urls:
        folder = Path(tempfile.mkdtemp())
        watcher = threading.Thread(target=watch)
        watcher.start()
        started = time.perf_counter()
        try:
            report = kalai(urls, 32, folder, per_host=4, backoff_s=0.05)
        finally:
            done.set()
            watcher.join()
            shutil.rmtree(folder)
    seconds = time.perf_counter() - started
    bad = {
        "http-404": expected["404"],
        "not-an-image": expected["html"],
        "truncated": expected["cut"],
    }
    assert report["refused"] == dict(sorted(bad.items())), report
    assert report["duplicates"] == expected["same"], report
    assert report["stored"] == count - sum(bad.values()) - expected["same"], report
    click.echo(f"{count} pictures of 50 hosts: {report}, {seconds:.0f} s, {count / seconds:.0f}/s")
    quarter = max(1, len(held) // 4)
    early, late = statistics.median(held[quarter : 2 * quarter]), statistics.median(held[-quarter:])
    click.echo(f"memory: {early:.0f} MB in the second quarter, {late:.0f} MB in the last")
    return held


@click.command()
@click.option("--rounds", default=3, show_default=True)
@click.option(
    "--threads", "counts", multiple=True, type=int, default=(4, 16, 32), show_default=True
)
@click.option("--pictures", default=500, show_default=True, help="Of the race.")
@click.option("--img2dataset", "python", help="A Python that has img2dataset.")
@click.option("--check", is_flag=True, help="Fail when a goal is missed.")
@click.option("--memory", "is_memory", is_flag=True, help="Measure memory instead.")
@click.option("--soak", "is_soak", is_flag=True, help="Soak instead.")
@click.option("--count", default=20_000, show_default=True, help="Pictures of the soak.")
@click.option("--web", "serve", hidden=True)
def main(
    rounds: int,
    counts: tuple[int, ...],
    pictures: int,
    python: str | None,
    check: bool,
    is_memory: bool,
    is_soak: bool,
    count: int,
    serve: str | None,
) -> None:
    """Measure the crawl."""
    if serve:
        asyncio.run(web_main(*json.loads(serve)))
    elif is_memory:
        peak = memory()
        if check and peak > MEMORY_GOAL_MB:
            raise click.ClickException(f"peak {peak:.0f} MB is above {MEMORY_GOAL_MB}")
    elif is_soak:
        soak(count)
    else:
        rates = race(rounds, counts, pictures, python)
        click.echo(table(rates))
        for threads in counts:
            waves = -(-pictures // threads)
            click.echo(
                f"{threads} threads: {waves} latencies for the pool; robots.txt is asked for "
                f"before, so no more than {waves / (waves + 1):.3f} of its rate can be had"
            )
        load, cores = os.getloadavg()[1], os.cpu_count()
        click.echo(f"Load average of 5 minutes: {load:.1f} on {cores} cores.")
        if not python:
            click.echo("img2dataset: not measured; name a Python that has it with --img2dataset")
        for threads, of in rates.items():
            share = of["kalai"] / of["ThreadPool+requests"]
            if check and share < GOAL:
                raise click.ClickException(
                    f"{threads} threads: {share:.2f} of the pool, not {GOAL}"
                )


if __name__ == "__main__":
    main()
