"""A crawl continues an earlier one: after a full run, a signal, a kill or a full disk."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.crawl import stage
from pipeline.dataset.ledger import read_ledger
from tests.crawling import CrawlProcess, RunCrawl, World, crawl_params, photo
from tests.loopback import hang

SmallDisk = Callable[[Path, str], None]


def test_a_second_run_makes_no_request(world: World, run: RunCrawl) -> None:
    world.add_images(60)
    first = run()
    requests, report = len(world.web.requests), first.report
    second = run()
    assert second.exit_code == 0
    assert len(world.web.requests) == requests
    assert (second.report, second.files) == (report, first.files)


def test_a_larger_number_is_topped_up(world: World, run: RunCrawl) -> None:
    world.add_images(60)
    run(max_images=20)
    crawled = run(max_images=50)
    assert crawled.urls == set(world.urls["*"][:50])
    assert world.image_hits == 50, "stored images are not requested again"
    smaller = run(max_images=10)
    assert len(smaller.files) == 50, "nothing is ever deleted"


def test_a_deleted_or_damaged_file_is_restored(world: World, run: RunCrawl) -> None:
    world.add_images(30)
    first = run()
    (first.folder / "images" / first.files[3]).unlink()
    damaged = first.folder / "images" / first.files[5]
    damaged.write_bytes(damaged.read_bytes()[:10])
    again = run()
    assert again.files == first.files
    assert world.image_hits == 22
    assert hashlib.sha256(damaged.read_bytes()).hexdigest() == damaged.stem
    assert again.report["stored"] == 20


def test_another_query_keeps_images_and_adds_its_own(world: World, run: RunCrawl) -> None:
    world.add_images(12, "old")
    world.urls["new"] = [world.web.serve(f"/img/n{n}.jpg", photo(500 + n)) for n in range(30)]
    assert len(run(queries=["old"]).files) == 12
    crawled = run(queries=["new"])
    assert len(crawled.files) == 20
    assert [a.query for a in crawled.outcomes("stored")].count("new") == 8


def test_a_ledger_whose_last_line_is_cut(world: World, run: RunCrawl) -> None:
    world.add_images(30)
    first = run(threads=1)
    ledger = first.folder / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-40])
    assert len(first.attempts) == 19
    again = run()
    (line,) = [one for one in again.output.splitlines() if "ledger.jsonl: " in one]
    assert "last line" in line
    assert (len(again.attempts), again.files) == (20, first.files)
    assert world.image_hits == 21


def test_a_damaged_ledger_is_an_error_that_names_the_line(world: World, run: RunCrawl) -> None:
    world.add_images(30)
    ledger = run().folder / "ledger.jsonl"
    ledger.write_text("{}\n" + ledger.read_text())
    crawled = run()
    assert crawled.exit_code == 1
    assert "ledger.jsonl: line 1: " in crawled.output


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, stage.INTERRUPTED, "interrupted"),
        (signal.SIGTERM, stage.TERMINATED, "terminated"),
    ],
)
def test_a_signal_ends_the_crawl_in_order(
    project: Callable[..., Path],
    world: World,
    run: RunCrawl,
    number: int,
    code: int,
    word: str,
) -> None:
    world.add_images(30)
    for stuck in (6, 9):
        world.web.answers[f"/img/{stuck}.jpg"] = hang
    started = CrawlProcess(project(**crawl_params(world, {"timeout_s": 60.0})))
    started.wait_for_files(18)
    moment = time.monotonic()
    started.process.send_signal(number)
    output, _ = started.process.communicate(timeout=10)
    assert time.monotonic() - moment < 2.5
    assert started.process.returncode == code, output
    assert f"error: {word}; stored images are kept, run again to continue\n" in output
    assert "kathak: 18 images stored, 20 wanted; " in output
    assert "Traceback" not in output
    attempts = read_ledger(started.ledger)
    assert {a.file_name for a in attempts} == {path.name for path in started.images.iterdir()}
    for stuck in (6, 9):
        world.web.serve(f"/img/{stuck}.jpg", photo(stuck))
    world.web.hits.clear()
    assert run().urls == set(world.urls["*"][:20])
    assert world.image_hits == 2


def test_a_kill_loses_no_image(project: Callable[..., Path], world: World, run: RunCrawl) -> None:
    world.add_images(60, delay_s=0.02)
    for files in (3, 20):  # a first run is killed, then one that continues it
        started = CrawlProcess(project(**crawl_params(world, {"max_images": 40, "threads": 4})))
        started.wait_for_files(files)
        started.process.kill()
        started.process.communicate(timeout=10)
        lines = {a.sha256 for a in read_ledger(started.ledger)}
        assert {path.stem for path in started.images.iterdir()} <= lines
    crawled = run(max_images=40)
    assert crawled.exit_code == 0
    assert crawled.urls == set(world.urls["*"][:40])
    for name in crawled.files:
        data = (crawled.folder / "images" / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == Path(name).stem
    assert world.image_hits <= 40 + 2 * 5, "only downloads under way are repeated"


def test_a_second_crawl_of_the_same_class_is_refused(
    project: Callable[..., Path], world: World, run: RunCrawl
) -> None:
    world.add_images(24, delay_s=0.05)
    first = CrawlProcess(project(**crawl_params(world, {"max_images": 24, "threads": 1})))
    first.wait_for_files(2)
    second = run(max_images=24)
    assert second.exit_code == 1
    assert second.output.count("\n") == 1
    assert "crawl/kathak: another crawl" in second.output
    output, _ = first.process.communicate(timeout=30)
    assert first.process.returncode == 0, output
    assert second.urls == set(world.urls["*"])
    assert world.image_hits == 24, "the second made no request"
    assert run(max_images=24).exit_code == 0


def test_a_full_disk_keeps_ledger_and_images_consistent(
    world: World, run: RunCrawl, tmp_path: Path, small_disk: SmallDisk
) -> None:
    world.add_images(60)
    folder = tmp_path / "data/dances/crawl/kathak"
    small_disk(folder, "size=64k")
    crawled = run(max_images=60)
    assert crawled.exit_code == 1
    assert "No space left on device" in crawled.output
    attempts = crawled.attempts
    assert {a.file_name for a in attempts if a.outcome == "stored"} == set(crawled.files)
    assert len(crawled.files) > 3
    subprocess.run(["mount", "-o", "remount,size=1m", str(folder)], check=True)
    again = run(max_images=60)
    assert again.exit_code == 0
    assert len(again.files) == 60


def test_a_read_only_folder_is_one_line_and_no_request(
    world: World, run: RunCrawl, tmp_path: Path, small_disk: SmallDisk
) -> None:
    world.add_images(60)
    folder = tmp_path / "data/dances/crawl/kathak"
    small_disk(folder, "ro")
    crawled = run()
    assert crawled.exit_code == 1
    assert str(Path("crawl/kathak")) in crawled.output
    assert "Read-only file system" in crawled.output
    assert not world.web.requests
    assert not list(folder.iterdir())
