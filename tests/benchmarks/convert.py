"""How fast kalai converts archived handwriting, against the floor below which nothing can be.

    python tests/benchmarks/convert.py                     the real archives, or drawn ones
    python tests/benchmarks/convert.py --check             the same, failing above the goals
    python tests/benchmarks/convert.py --drawn 20000       drawn ones, of so many letters

The floor is to decompress an archive and walk its members with the library that convert uses
itself, in one process. Convert does that, reads or draws every letter, encodes and hashes it, and
writes samples.parquet. Both are run in turns, each in a fresh process, and the fastest counts:
other work on the machine only ever adds.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.convert.archive import walk  # noqa: E402
from pipeline.convert.archive_reader import ArchiveReader  # noqa: E402
from pipeline.convert.classes import TAMIL, class_table  # noqa: E402
from pipeline.convert.hp_archive import HpLayout  # noqa: E402
from pipeline.convert.render import Outline, Renderer  # noqa: E402
from pipeline.convert.stage import convert as run  # noqa: E402
from pipeline.dataset.pen_settings import PenSettings  # noqa: E402
from pipeline.images.bitmap import Bitmap, encode_tiff  # noqa: E402
from tests.archiving import Member, write_archive  # noqa: E402
from tests.pens import pen_file  # noqa: E402

REAL = ROOT.parent / "shared/data/tamil"

GOAL = 4.0  # times the floor
MEMORY_GOAL_MB = 1000


def floor(path: Path) -> int:
    """Decompress an archive and walk its members."""
    return sum(1 for member in walk(path) if member.data)


def convert(path: Path) -> int:
    """Convert an archive, in a folder of its own."""
    path = path.resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        reader = ArchiveReader({"train": path}, class_table(TAMIL), HpLayout)
        samples: int = run("set", reader, PenSettings())["samples"]
        os.chdir(ROOT)
    return samples


class Run(NamedTuple):
    """What a job took."""

    seconds: float
    cpu_s: float  # of all its processes
    memory_mb: float  # the first process and the largest of the others
    answer: int


def measured(job: Callable[[Path], int], path: Path) -> Run:
    """Run a job in a fresh process."""
    results, sent = multiprocessing.Pipe(False)
    process = multiprocessing.Process(target=_measure, args=(job, path, sent))
    process.start()
    sent.close()
    try:
        result: Run = results.recv()
    finally:
        process.join()
    return result


def _measure(job: Callable[[Path], int], path: Path, results: Connection) -> None:
    sys.stderr = io.StringIO()  # no progress lines among the figures
    start = time.perf_counter()
    answer = job(path)
    seconds = time.perf_counter() - start
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(usage.ru_utime + usage.ru_stime for usage in used)
    results.send(Run(seconds, cpu, sum(usage.ru_maxrss for usage in used) / 1024, answer))


def drawn(folder: Path, count: int) -> list[Path]:
    """Write an online and an offline archive of random walks, the size of real letters."""
    chance = np.random.default_rng(8)

    def strokes() -> list[np.ndarray]:
        steps = [chance.normal(0, 40, (85, 2)).cumsum(axis=0) for _ in range(2)]
        return [np.round(walk + 2000) for walk in steps]

    def members(extension: str) -> Iterator[Member]:
        renderer = Renderer()
        for number in range(count):
            lines = strokes()
            name = f"usr_{number % 100}/{number % 156:03}t{number // 15600:02}{extension}"
            if extension == ".txt":
                rows = [", ".join(f"{x:.0f} {y:.0f} 0" for x, y in line) for line in lines]
                yield f"{number}/{name}", pen_file(*rows)
            else:
                (bitmap,) = renderer.draw([Outline(lines, (2500, 2500))])
                assert isinstance(bitmap, Bitmap)
                yield f"{number}/{name}", encode_tiff(bitmap)

    return [
        write_archive(folder / f"drawn-{kind}.tar.gz", members(extension))
        for kind, extension in (("online", ".txt"), ("offline", ".tiff"))
    ]


def compare(path: Path, rounds: int) -> dict[str, Any]:
    """Measure one archive."""
    pairs = [(measured(floor, path), measured(convert, path)) for _ in range(rounds)]
    least, fastest = min(pair[0] for pair in pairs), min(pair[1] for pair in pairs)
    return {
        "archive": path.name,
        "letters": fastest.answer,
        "floor_s": round(least.seconds, 2),
        "convert_s": round(fastest.seconds, 2),
        "letters_per_s": round(fastest.answer / fastest.seconds),
        "times_the_floor": round(fastest.seconds / least.seconds, 2),
        "floor_cpu_s": round(min(pair[0].cpu_s for pair in pairs), 2),
        "convert_cpu_s": round(min(pair[1].cpu_s for pair in pairs), 2),
        "memory_mb": round(max(pair[1].memory_mb for pair in pairs)),
    }


@click.command()
@click.argument("archives", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--check", is_flag=True, help="Fail above the goals.")
@click.option("--drawn", "count", type=int, default=0, help="Draw so many letters instead.")
@click.option("--rounds", default=3, show_default=True)
def main(archives: tuple[Path, ...], check: bool, count: int, rounds: int) -> None:
    """Print one line of JSON an archive."""
    with tempfile.TemporaryDirectory() as folder:
        paths = list(archives) or sorted(REAL.glob("*train*.tar.gz"))
        if count or not paths:
            paths = drawn(Path(folder), count or 20_000)
        results = []
        for path in paths:
            results.append(compare(path, rounds))
            click.echo(json.dumps(results[-1]))
    if check and any(
        r["times_the_floor"] > GOAL or r["memory_mb"] > MEMORY_GOAL_MB for r in results
    ):
        raise click.ClickException(f"above {GOAL} times the floor or {MEMORY_GOAL_MB} MB")


if __name__ == "__main__":
    main()
