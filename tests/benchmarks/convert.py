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
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))
REAL = ROOT.parent / "shared/data/tamil"

GOAL = 4.0  # times the floor
MEMORY_GOAL_MB = 1000


def floor(path: Path) -> int:
    """Decompress an archive and walk its members."""
    from pipeline.layout import walk

    return sum(1 for member in walk(path) if member.data)


def convert(path: Path) -> int:
    """Convert an archive, in a folder of its own."""
    from pipeline.classes import class_table
    from pipeline.convert import Intake
    from pipeline.convert import convert as run
    from pipeline.handwriting import Drawing

    path = path.resolve()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        samples: int = run("set", Intake({"train": path}, class_table("tamil")), Drawing())[
            "samples"
        ]
        os.chdir(ROOT)
    return samples


def measured(job: Callable[[Path], int], path: Path) -> tuple[float, int, float]:
    """Run a job in a fresh process: seconds, its answer, and the most memory a process had (MB)."""
    answers, asked = multiprocessing.Pipe(False)
    process = multiprocessing.Process(target=_measure, args=(job, path, asked))
    process.start()
    asked.close()
    try:
        answer: tuple[float, int, float] = answers.recv()
    finally:
        process.join()
    return answer


def _measure(job: Callable[[Path], int], path: Path, answer: object) -> None:
    sys.stderr = io.StringIO()  # no progress lines among the figures
    start = time.perf_counter()
    result = job(path)
    seconds = time.perf_counter() - start
    peaks = [
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    ]
    answer.send((seconds, result, sum(peaks) / 1024))  # type: ignore[attr-defined]


def drawn(folder: Path, count: int) -> list[Path]:
    """Write an online and an offline archive of random walks, the size of real letters."""
    import numpy as np

    from pipeline.bitmap import Bitmap, encode_tiff
    from pipeline.render import Outline, Renderer
    from tests.archiving import Member, write_archive
    from tests.pens import pen_file

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
    floors, converts = [], []
    for _ in range(rounds):
        floors.append(measured(floor, path))
        converts.append(measured(convert, path))
    least, most = min(floors)[0], min(converts)
    return {
        "archive": path.name,
        "letters": most[1],
        "floor_s": round(least, 2),
        "convert_s": round(most[0], 2),
        "letters_per_s": round(most[1] / most[0]),
        "times_the_floor": round(most[0] / least, 2),
        "memory_mb": round(max(run[2] for run in converts)),
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
