"""Measure how fast kalai finds duplicates, compared with imagededup and a loop over imagehash.

    python tests/benchmarks/dedupe.py                            kalai and the loop
    python tests/benchmarks/dedupe.py --imagededup ~/idd         imagededup, too
    python tests/benchmarks/dedupe.py --check ...                fail if a goal is missed
    python tests/benchmarks/dedupe.py --ten-million              1e7 hashes, too; takes minutes

imagededup is no dependency. Install it into a folder of its own, where it uses the torch of this
environment:

    pip install --no-deps --target ~/idd imagededup

All tools get the same files and two workers. They run in turns, each run in a new process whose
imports are not counted. The fastest of the rounds counts, since other load on the machine only adds
time. `--folder` names the images; by default they are the real photos beside the project, or drawn
ones if there are none.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))
REAL = ROOT.parent / "shared/data/dances"

WORKERS = 2
WITHIN = 6
MANY = 10_000
GOALS = {
    "hashing, times imagededup": 3.5,
    f"pairs of {MANY}, times imagededup": 400,
    f"end to end at {MANY}, times imagededup": 6,
}
MILLION_GOAL_S, MILLION_GOAL_MB, TEN_MILLION_GOAL_MB = 15, 1000, 2000

Result = dict[str, Any]


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


# ---- the jobs; each is measured in a process of its own


class Clock:
    """Starts when it is made; `read` returns elapsed seconds and CPU seconds of all processes."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), self._cpu()

    def read(self) -> Result:
        return {"seconds": time.perf_counter() - self.wall, "cpu": self._cpu() - self.cpu}

    @staticmethod
    def _cpu() -> float:
        return sum(os.times()[:4])  # workers that have ended included


def hash_ours(folder: Path) -> Result:
    from pipeline.dedupe.hash_cache import PHASH, hash_files

    files = files_in(folder)
    PHASH.compute(files[0].read_bytes())  # imports
    clock = Clock()
    contents, hashes = hash_files(files, PHASH)
    return clock.read() | {"hashes": [hashes[name][0] for name, _ in contents]}


def hash_naive(folder: Path) -> Result:
    import imagehash

    files = files_in(folder)
    imagehash.phash(Image.open(files[0]))
    clock = Clock()
    with ThreadPoolExecutor(WORKERS) as pool:
        found = list(pool.map(lambda path: imagehash.phash(Image.open(path)), files))
    return clock.read() | {"hashes": [int(str(each), 16) for each in found]}


def phash_of_imagededup() -> Any:
    return importlib.import_module("imagededup.methods").PHash(verbose=False)


def hash_imagededup(folder: Path) -> Result:
    method = phash_of_imagededup()
    clock = Clock()
    found = method.encode_images(str(folder), recursive=True, num_enc_workers=WORKERS)
    return clock.read() | {"hashes": len(found)}


def like_photos(n: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Return hashes (n,) like those of photos: half the bits are set, a third have near copies."""
    random = np.random.default_rng(0)
    bits = np.argsort(random.random((n, 64)), axis=1) < 32
    hashes = np.packbits(bits, axis=1).view(np.uint64).ravel()
    copies = random.random(n) < 0.3
    hashes[copies] = hashes[random.integers(0, n, int(copies.sum()))]
    for _ in range(4):
        flip = np.uint64(1) << random.integers(0, 64, n).astype(np.uint64)
        hashes = np.where(copies & (random.random(n) < 0.5), hashes ^ flip, hashes)
    return hashes


def pairs_ours(_: Path) -> Result:
    from pipeline.dedupe.hamming import near_pairs

    hashes = like_photos(MANY)
    near_pairs(hashes[:100], WITHIN)
    clock = Clock()
    found = near_pairs(hashes, WITHIN, threads=WORKERS)
    return clock.read() | {"pairs": found.a.size}


def pairs_naive(_: Path) -> Result:
    hashes = like_photos(MANY).tolist()
    clock = Clock()
    count = 0
    for place, one in enumerate(hashes):
        for other in hashes[place + 1 :]:
            if (one ^ other).bit_count() <= WITHIN:
                count += 1
    return clock.read() | {"pairs": count}


def pairs_imagededup(_: Path) -> Result:
    encoded = {
        str(place): f"{value:016x}" for place, value in enumerate(like_photos(MANY).tolist())
    }
    method = phash_of_imagededup()
    clock = Clock()
    found = method.find_duplicates(
        encoding_map=encoded, max_distance_threshold=WITHIN, num_dist_workers=WORKERS
    )
    return clock.read() | {"pairs": sum(map(len, found.values())) // 2}


def whole_ours(folder: Path) -> Result:
    import pyarrow as pa

    from pipeline.dataset import columns
    from pipeline.dataset.contents import contents_of
    from pipeline.dataset.pairs_table import components
    from pipeline.dedupe.clusters import mark
    from pipeline.dedupe.edges import edges_of
    from pipeline.dedupe.hash_cache import PHASH, hash_files

    files = files_in(folder)
    PHASH.compute(files[0].read_bytes())
    clock = Clock()
    read, hash_of = hash_files(files, PHASH)
    ids, sizes = zip(*read, strict=True)
    nothing = [None] * len(files)
    samples = pa.table(
        {
            columns.SAMPLE_ID: [str(path) for path in files],
            columns.CONTENT_ID: ids,
            columns.LABEL: ["a"] * len(files),
            columns.WIDTH: [1] * len(files),
            columns.HEIGHT: [1] * len(files),
            columns.ORIGINAL_WIDTH: pa.array(nothing, pa.int32()),
            columns.ORIGINAL_HEIGHT: pa.array(nothing, pa.int32()),
            columns.ORIGINAL_BYTES: sizes,
            columns.RANK: pa.array(nothing, pa.int32()),
        }
    )
    contents = contents_of(samples)
    values = np.array([hash_of[name][0] for name in contents.ids], np.uint64)
    near = edges_of(values, None, WITHIN, 0).near
    marks = mark(samples, contents, near, WITHIN)
    components(len(contents.ids), near.a, near.b)
    return clock.read() | {"removed": marks.status.count("remove")}


def whole_imagededup(folder: Path) -> Result:
    method = phash_of_imagededup()
    clock = Clock()
    encoded = method.encode_images(str(folder), recursive=True, num_enc_workers=WORKERS)
    found = method.find_duplicates_to_remove(encoding_map=encoded, max_distance_threshold=WITHIN)
    return clock.read() | {"removed": len(found)}


def uniform_pairs(n: int, within: int) -> Result:
    from pipeline.dedupe.hamming import near_values

    values = np.unique(np.random.default_rng(0).integers(0, 2**64, n, dtype=np.uint64))
    clock = Clock()
    found = near_values(values, within, threads=WORKERS)
    return clock.read() | {"pairs": found.a.size}


def million(_: Path) -> Result:
    return uniform_pairs(10**6, 6)


def ten_million(_: Path) -> Result:
    return uniform_pairs(10**7, 4)


JOBS: dict[str, Callable[[Path], Result]] = {
    job.__name__: job
    for job in (
        *(hash_ours, hash_naive, hash_imagededup),
        *(pairs_ours, pairs_naive, pairs_imagededup),
        *(whole_ours, whole_imagededup, million, ten_million),
    )
}


# ---- the measurement


def measured(job: str, folder: Path, aside: Path | None) -> Result:
    """Run a job in a new process; return its result with its peak memory in MB.

    `aside` is the folder that imagededup is in.
    """
    environment = dict(os.environ)
    if aside is not None:
        environment["PYTHONPATH"] = str(aside)
    command = [sys.executable, __file__, "--job", job, "--folder", str(folder)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


def best(jobs: list[str], folder: Path, aside: Path | None, rounds: int) -> dict[str, Result]:
    """Run jobs in turns and return the fastest run of each."""
    found: dict[str, Result] = {}
    for _ in range(rounds):
        for job in jobs:
            result = measured(job, folder, aside)
            if job not in found or result["seconds"] < found[job]["seconds"]:
                found[job] = result
    return found


def vary(source: Path, target: Path, count: int) -> None:
    """Write `count` photos of at most 512 pixels, each with a random crop and brightness.

    Of every 100 files 23 are copies of another, as in three real crawls.
    """
    from pipeline.core.errors import Rejected
    from pipeline.images.normalise import open_rgb

    random = np.random.default_rng(0)
    photos = []
    for path in files_in(source):
        try:
            photos.append(open_rgb(path.read_bytes()))
        except Rejected:
            continue
        photos[-1].thumbnail((512, 512))
    different = count * 77 // 100
    for number in range(different):
        photo = photos[number % len(photos)]
        left, top, right, bottom = (random.random(4) * 0.2 * min(photo.size)).astype(int).tolist()
        cut = photo.crop((left, top, photo.width - right, photo.height - bottom))
        light = 0.7 + 0.5 * random.random()
        cut.point(lambda value, by=light: min(255, int(value * by))).save(
            target / f"{number:05}.jpg", quality=88
        )
    for number in range(different, count):
        shutil.copy(target / f"{number - different:05}.jpg", target / f"{number:05}.jpg")


def draw(target: Path, count: int) -> None:
    """Draw `count` large, smooth images, all different, to measure without real photos."""
    for number in range(count):
        coarse = np.random.default_rng(number).integers(0, 255, (9, 12, 3)).astype(np.uint8)
        image = Image.fromarray(coarse).resize((900, 675), Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=90)
        name = hashlib.sha256(buffer.getvalue()).hexdigest()[:16]
        (target / f"{name}.jpg").write_bytes(buffer.getvalue())


def pairs_of(hashes: list[int]) -> set[tuple[int, int]]:
    return {
        (place, place + 1 + offset)
        for place, one in enumerate(hashes)
        for offset, other in enumerate(hashes[place + 1 :])
        if (one ^ other).bit_count() <= WITHIN
    }


def ratio(found: dict[str, Result], what: str) -> float:
    ours, theirs = found[f"{what}_ours"], found[f"{what}_imagededup"]
    click.echo(f"{what}: imagededup takes {theirs['cpu'] / ours['cpu']:.1f} times the CPU time")
    return float(theirs["seconds"] / ours["seconds"])


@click.command(help=__doc__)
@click.option("--folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--imagededup", "aside", type=click.Path(path_type=Path, exists=True))
@click.option("--rounds", default=3, show_default=True)
@click.option("--check", is_flag=True, help="Fail if a goal is missed.")
@click.option("--ten-million", "is_large", is_flag=True)
@click.option("--job", type=click.Choice(list(JOBS)), hidden=True)
def main(
    *,
    folder: Path | None,
    aside: Path | None,
    rounds: int,
    check: bool,
    is_large: bool,
    job: str | None,
) -> None:
    if job is not None:
        result = JOBS[job](folder or ROOT)
        result["mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        click.echo(json.dumps(result))
        return
    with tempfile.TemporaryDirectory() as scratch:
        run(Path(scratch), folder, aside, rounds, check=check, is_large=is_large)


def run(
    scratch: Path,
    folder: Path | None,
    aside: Path | None,
    rounds: int,
    *,
    check: bool,
    is_large: bool,
) -> None:
    tools = ["ours", "naive", *(["imagededup"] if aside else [])]
    if folder is None and REAL.is_dir():
        folder = REAL
    if folder is None:
        folder = scratch / "drawn"
        folder.mkdir()
        draw(folder, 300)
    missed = []
    reached: dict[str, float] = {}

    found = best([f"hash_{tool}" for tool in tools], folder, aside, rounds)
    count = len(files_in(folder))
    for tool in tools:
        wall, cpu = (1000 * found[f"hash_{tool}"][by] / count for by in ("seconds", "cpu"))
        click.echo(f"hash {count} files       {tool:11} {wall:7.2f} ms per image, {cpu:.2f} ms CPU")
    ours, naive = (pairs_of(found[f"hash_{tool}"]["hashes"]) for tool in ("ours", "naive"))
    click.echo(
        f"pairs within {WITHIN} bits: kalai {len(ours)}, naive {len(naive)}, equal {ours == naive}"
    )
    if ours != naive:
        missed.append("kalai and the naive loop find different pairs")
    if aside:
        reached["hashing, times imagededup"] = ratio(found, "hash")

    found = best([f"pairs_{tool}" for tool in tools], folder, aside, rounds)
    for tool in tools:
        result = found[f"pairs_{tool}"]
        click.echo(
            f"pairs of {MANY} hashes  {tool:11} {result['seconds']:9.4f} s {result['pairs']}"
        )
    if len({result["pairs"] for result in found.values()}) > 1:
        missed.append("the searches find different pairs")
    if aside:
        reached[f"pairs of {MANY}, times imagededup"] = ratio(found, "pairs")
        many = scratch / "many"
        many.mkdir()
        vary(folder, many, MANY)
        found = best(["whole_ours", "whole_imagededup"], many, aside, min(rounds, 2))
        for tool in ("ours", "imagededup"):
            result = found[f"whole_{tool}"]
            click.echo(
                f"end to end, {MANY} files {tool:11} {result['seconds']:7.1f} s,"
                f" {result['cpu']:.1f} s CPU, {result['removed']} removed"
            )
        reached[f"end to end at {MANY}, times imagededup"] = ratio(found, "whole")

    result = measured("million", folder, None)
    click.echo(f"1e6 hashes within 6       {result['seconds']:8.1f} s {result['mb']} MB")
    if result["seconds"] > MILLION_GOAL_S or result["mb"] > MILLION_GOAL_MB:
        missed.append(f"1e6 hashes: {result['seconds']:.1f} s, {result['mb']} MB")
    if is_large:
        result = measured("ten_million", folder, None)
        click.echo(f"1e7 hashes within 4       {result['seconds']:8.1f} s {result['mb']} MB")
        if result["mb"] > TEN_MILLION_GOAL_MB:
            missed.append(f"1e7 hashes: {result['mb']} MB")
    for name, value in reached.items():
        click.echo(f"{name}: {value:.1f} (goal {GOALS[name]})")
        if value < GOALS[name]:
            missed.append(f"{name}: {value:.1f}, goal {GOALS[name]}")
    if check and missed:
        raise click.ClickException("; ".join(missed))


if __name__ == "__main__":
    main()
