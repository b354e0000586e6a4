"""Convert: every member becomes a sample, is skipped, or becomes a row with a reason."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from pipeline.convert.archive_reader import ArchiveReader
from pipeline.convert.classes import TAMIL, class_table
from pipeline.convert.hp_archive import HpLayout
from pipeline.convert.stage import convert, main
from pipeline.core import progress
from pipeline.core.errors import PipelineError
from pipeline.dataset.pen_settings import PenSettings, read_pen_settings
from pipeline.dataset.samples import read_samples
from pipeline.images.bitmap import Bitmap
from tests.archiving import TEST, TRAIN, WRONG, Member, pen, write_archive
from tests.pens import pen_file

ProjectMaker = Callable[..., Path]
SECRET = re.compile(rb"Secret|WriterName|Person")


REASONS = {
    "iso/usr_18/000t01": "truncated",
    "iso/usr_18/000t02": "corrupt",
    "iso/usr_18/000t03": "no-ink",
    "iso/usr_18/000t04": "empty",
    "iso/usr_18/000t05": "no-resolution",
    "iso/usr_18/000t06": "too-many-pixels",
    "iso/usr_18/000t07": "no-ink",
    "iso/usr_18/999t01.txt": "unlabelled",
    "iso/usr_16/042t01.tiff": "duplicate-member",
    "../usr_18/000t08.txt": "hostile-member",
    "iso/usr_18/000t09": "corrupt",
    "iso/usr_18/000t10": "truncated",
}


ONLINE_TRAIN = {"online": {"train": {"url": "there.tar.gz", "sha256": None}}}


@pytest.fixture
def run(project: ProjectMaker) -> Callable[..., Result]:
    """Give a function that writes the two archives and converts them."""

    def go(train: list[Member], test: list[Member], **changes: Any) -> Result:
        folder = project(**{"fetch.tamil.source": "online", **changes}) / "data/tamil/archives"
        write_archive(folder / "online-train.tar.gz", train)
        write_archive(folder / "online-test.tar.gz", test)
        return CliRunner().invoke(main, ["tamil"])

    return go


def rows() -> dict[str, dict[str, Any]]:
    return {row["sample_id"]: row for row in read_samples("tamil").to_pylist()}


def rejected() -> dict[str, str]:
    with Path("data/tamil/rejected.csv").open(encoding="utf-8") as file:
        return {row["sample_id"]: row["reason"] for row in csv.DictReader(file)}


def test_a_sample_keeps_what_its_member_says(run: Callable[..., Result]) -> None:
    result = run(TRAIN, TEST)
    assert result.exit_code == 0, result.output
    row = rows()["iso/usr_16/042t02"]
    image = row.pop("image")
    content = row.pop("content_id")
    with Image.open(io.BytesIO(image["bytes"])) as opened:
        assert opened.format == "PNG" and opened.mode == "1"
        assert opened.size == (row["width"], row["height"])
        assert Bitmap.of(np.asarray(opened)).content_id == content
    assert image["path"] == "iso/usr_16/042t02.png"
    values = {name: value for name, value in row.items() if value is not None}
    assert values == {
        "sample_id": "iso/usr_16/042t02",
        "label": "042",
        "label_name": "நி",
        "romanised": "ni",
        "group": "16",
        "trial": 2,
        "official_part": "train",
        "width": opened.width,
        "height": opened.height,
        "original_bytes": len(pen(2)),
        "original_format": "UNIPEN",
    }
    of_test = rows()["test/00001"]
    assert (of_test["label"], of_test["group"], of_test["trial"]) == ("155", None, None)
    assert of_test["official_part"] == "test"


def test_the_content_decides_what_a_member_is(run: Callable[..., Result]) -> None:
    run(TRAIN, TEST)
    formats = {name: row["original_format"] for name, row in rows().items() if "usr_17" in name}
    assert list(formats.values()) == ["TIFF", "TIFF", "UNIPEN", "PNG"]
    sizes = [(row["original_width"], row["original_height"]) for row in rows().values()]
    assert sizes[2:6] == [(30, 21), (30, 21), (None, None), (30, 21)]
    assert rejected() == {"test/00002.txt": "unlabelled"}


def test_every_rejection_has_a_reason_and_every_member_is_counted(
    run: Callable[..., Result],
) -> None:
    result = run(TRAIN + WRONG, TEST)
    assert result.exit_code == 0, result.output
    assert rejected() == REASONS | {"test/00002.txt": "unlabelled"}
    report = json.loads(Path("data/tamil/reports/convert.json").read_text())
    train = report["parts"]["train"]
    assert train["rejected"] == dict(sorted(Counter(REASONS.values()).items()))
    assert train["skipped"] == {"apple-double": 1, "other": 1}
    counted = (train["samples"], sum(train["skipped"].values()), sum(train["rejected"].values()))
    assert sum(counted) == len(TRAIN + WRONG) and train["samples"] == 6
    assert (train["writers"], train["classes"]) == (2, 2)
    assert train["samples_per_class"] == {"least": 2, "most": 4}
    assert report["samples"] == len(rows()) == 8
    assert report["parts"]["test"]["skipped"] == {"labels": 1}


def test_no_output_has_the_name_of_a_person(run: Callable[..., Result]) -> None:
    assert SECRET.search(pen(1))
    result = run(TRAIN + WRONG, TEST)
    table = pq.read_table("data/tamil/samples.parquet")
    texts = [str(table.drop_columns(["image"]).to_pylist()), result.output]
    texts += [path.read_text() for path in Path("data/tamil").rglob("*.json")]
    texts.append(Path("data/tamil/rejected.csv").read_text())
    assert not any(SECRET.search(text.encode()) for text in texts)


def test_the_order_of_members_changes_only_the_order_of_rows(run: Callable[..., Result]) -> None:
    run(TRAIN, TEST)
    first = rows()
    run(TRAIN[::-1], TEST[::-1])
    assert rows() == first
    assert list(rows()) != list(first)


MANY: list[Member] = [
    (f"iso/usr_{writer}/{label}t{trial:02}.txt", pen(1000 * writer + trial))
    for writer in range(1, 6)
    for label in ("000", "001")
    for trial in range(1, 4)
]


def test_per_class_keeps_as_many_and_spreads_them_over_writers(
    run: Callable[..., Result],
) -> None:
    result = run(MANY, TEST, **{"convert.tamil.per_class": 7})
    assert result.exit_code == 0, result.output
    chosen = set(rows())
    train = [row for row in rows().values() if row["official_part"] == "train"]
    assert Counter(row["label"] for row in train) == {"000": 7, "001": 7}
    per_writer = Counter((row["label"], row["group"]) for row in train)
    assert sorted(per_writer.values()) == [1] * 6 + [2] * 4
    report = json.loads(Path("data/tamil/reports/convert.json").read_text())
    assert report["parts"]["train"]["left_out"] == len(MANY) - 14
    run(MANY[::-1], TEST[::-1], **{"convert.tamil.per_class": 7})
    assert set(rows()) == chosen


def test_a_pen_file_and_its_image_have_one_content_id(run: Callable[..., Result]) -> None:
    run([("usr_1/000t01.txt", pen(1))], TEST)
    drawn = rows()["usr_1/000t01"]
    run([("usr_1/000t01.tiff", drawn["image"]["bytes"]), ("usr_1/000t02.txt", pen(1))], TEST)
    assert {row["content_id"] for row in rows().values() if row["group"]} == {drawn["content_id"]}


def test_drawing_follows_params(run: Callable[..., Result]) -> None:
    def size(**changes: Any) -> tuple[int, int]:
        run([("usr_1/000t01.txt", pen_file("0 0 0, 1000 0 0, 1000 500 0"))], TEST, **changes)
        row = rows()["usr_1/000t01"]
        return row["width"], row["height"]

    assert size() == (110, 60)
    assert size(**{"convert.tamil.dpi": 500}) == (210, 110)
    assert size(**{"convert.tamil.pen_width": 8}) == (116, 66)
    down = rows()["usr_1/000t01"]["content_id"]
    assert size(**{"convert.tamil.pen_width": 8, "convert.tamil.y_axis": "up"}) == (116, 66)
    assert rows()["usr_1/000t01"]["content_id"] != down
    assert read_pen_settings("tamil") == PenSettings(pen_width=8, y_axis="up")


def test_progress_shows_rate_and_time_left(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)
    lines = run(MANY, [*TEST, ("README", random.Random(8).randbytes(9000))]).output.splitlines()
    shown = [line for line in lines if line.startswith("convert tamil: ")]
    assert any(re.search(r"\d+/\d+ kB, [\d.]+ kB/s, \d+ s left", line) for line in shown), shown
    assert re.fullmatch(
        r"convert tamil: (\d+)/\1 kB, [\d.]+ kB/s, 32 letters, 1 rejected", shown[-1]
    ), shown


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[: len(data) * 2 // 3],
    "empty": lambda data: b"",
    "html": lambda data: b"<html>404</html>",
    "flipped": lambda data: data[:300] + bytes([data[300] ^ 255]) + data[301:],
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_archive_is_a_one_line_error_and_nothing_is_lost(
    run: Callable[..., Result], name: str
) -> None:
    run(TRAIN, TEST)
    before = Path("data/tamil/samples.parquet").read_bytes()
    path = Path("data/tamil/archives/online-test.tar.gz")
    path.write_bytes(DAMAGED[name](path.read_bytes()))
    result = CliRunner().invoke(main, ["tamil"])
    assert result.exit_code == 1
    lines = [line for line in result.output.splitlines() if not line.startswith("convert tamil:")]
    assert len(lines) == 1 and "online-test.tar.gz" in lines[0]
    assert Path("data/tamil/samples.parquet").read_bytes() == before
    assert not list(Path("data/tamil").glob(".*.part"))


def test_a_missing_archive_or_dataset_is_named(project: ProjectMaker) -> None:
    project()
    result = CliRunner().invoke(main, ["tamil"])
    assert result.exit_code == 1
    assert result.output == (
        "error: data/tamil/archives/offline-train.tar.gz: file not found; "
        "run `dvc repro fetch@tamil`, or `dvc pull` to download it\n"
    )
    result = CliRunner().invoke(main, ["devanagari"])
    assert result.output == (
        "error: unknown dataset 'devanagari'; this project has: dances, tamil\n"
    )


def test_archives_without_a_letter_fail(run: Callable[..., Result]) -> None:
    result = run([("README", b"moved")], [("README", b"moved")])
    assert result.exit_code == 1
    assert result.output.splitlines()[-1].endswith("online-test.tar.gz: no readable letter found")
    result = run([("usr_1/000t01.txt", b"")], [("README", b"moved")])
    assert result.exit_code == 1
    assert result.output.splitlines()[-1].endswith(
        "no readable letter found; the first rejected member is usr_1/000t01: empty: no bytes"
    )


def test_the_number_of_processes_does_not_change_the_output(project: ProjectMaker) -> None:
    folder = project()
    many = [(name.replace("usr_", f"usr_{n}"), data) for n in range(10) for name, data in MANY]
    path = write_archive(folder / "many.tar.gz", [*many, *WRONG])
    found = []
    for processes in (0, 2):
        reader = ArchiveReader({"train": path}, class_table(TAMIL), HpLayout)
        report = convert("tamil", reader, PenSettings(), processes)
        found.append((report, read_samples("tamil").to_pylist(), rejected()))
    assert found[0] == found[1]
    assert (
        found[0][0]["samples"] == len(many) + 1
    )  # one of WRONG is good here: no other member has its name


def test_a_damaged_archive_ends_the_processes(project: ProjectMaker) -> None:
    folder = project()
    path = write_archive(folder / "many.tar.gz", MANY)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(PipelineError, match=r"many\.tar\.gz"):
        reader = ArchiveReader({"train": path}, class_table(TAMIL), HpLayout)
        convert("tamil", reader, PenSettings(), 2)


def started(folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """Start a conversion of several seconds; return it and the ids of its worker processes."""
    strokes = [
        pen_file(", ".join(f"{n % 997} {n * k % 991} 0" for n in range(400))) for k in range(2, 40)
    ]
    write_archive(
        folder / "data/tamil/archives/online-train.tar.gz",
        ((f"usr_{n}/000t01.txt", strokes[n % 38] + b".COMMENT %d\n" % n) for n in range(8000)),
    )
    command = [sys.executable, "-m", "pipeline.convert", "tamil"]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=folder)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
    for _ in range(600):
        found = [int(pid) for pid in children.read_text().split()] if children.exists() else []
        if found:
            return running, found
        time.sleep(0.05)
    raise AssertionError("no process was started")


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


processes = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")


@processes
def test_a_killed_worker_is_a_one_line_error_and_nothing_is_lost(project: ProjectMaker) -> None:
    folder = project(**{"fetch.tamil.source": "online", "fetch.tamil.archives": ONLINE_TRAIN})
    (folder / "data/tamil/samples.parquet").write_bytes(b"what was there")
    running, helpers = started(folder)
    os.kill(helpers[0], signal.SIGKILL)
    _, errors = running.communicate(timeout=120)
    lines = [line for line in errors.splitlines() if not line.startswith("convert tamil:")]
    assert running.returncode == 1
    assert len(lines) == 1 and lines[0].startswith("error: a worker process died"), errors
    assert (folder / "data/tamil/samples.parquet").read_bytes() == b"what was there"
    assert not any(is_alive(pid) for pid in helpers)


@processes
def test_workers_end_with_the_process_that_started_them(project: ProjectMaker) -> None:
    folder = project(**{"fetch.tamil.source": "online", "fetch.tamil.archives": ONLINE_TRAIN})
    running, helpers = started(folder)
    running.kill()
    running.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while any(is_alive(pid) for pid in helpers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_alive(pid) for pid in helpers)
    assert not (folder / "data/tamil/samples.parquet").exists()


def test_another_script_needs_only_params_and_a_class_table(
    project: ProjectMaker, shared: Path
) -> None:
    numerals = sorted((shared / "unipen/lipitk-numerals").glob("usr*/*.txt"))
    archive = {"train": {"url": "numerals.tar.gz", "sha256": None}}
    folder = project(
        **{
            "fetch.numerals": {"source": "online", "archives": {"online": archive}},
            "convert.numerals": {"classes": "numerals.csv"},
        }
    )
    table = ["class_id,unicode,iso15919", *(f"{n:06},{chr(0x966 + n)},{n}" for n in range(10))]
    (folder / "numerals.csv").write_text("\n".join(table), "utf-8")
    write_archive(
        folder / "data/numerals/archives/online-train.tar.gz",
        ((f"set/{path.parent.name}/{path.name}", path.read_bytes()) for path in numerals),
    )
    result = CliRunner().invoke(main, ["numerals"])
    assert result.exit_code == 0, result.output
    rows = read_samples("numerals").to_pylist()
    assert len(rows) == 160
    assert {row["label_name"] for row in rows} == set("०१२३४५६७८९")
    assert len({row["group"] for row in rows}) == len({path.parent for path in numerals})
    for row, path in zip(rows, numerals, strict=True):
        golden = shared / f"unipen/render-golden/{path.parent.name}-{path.stem}.png"
        with Image.open(golden) as drawn, Image.open(io.BytesIO(row["image"]["bytes"])) as stored:
            assert np.array_equal(np.asarray(drawn), np.asarray(stored))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "prefix"), [("offline", "dataset_offline"), ("online", "iso_char")]
)
def test_the_real_archives(project: ProjectMaker, shared: Path, source: str, prefix: str) -> None:
    folder = project(**{"fetch.tamil.source": source}) / "data/tamil/archives"
    folder.mkdir(parents=True)
    for part, name in (("train", f"train-{source}"), ("test", f"test-{source}-part1")):
        real = shared / f"tamil/hpl-tamil-iwfhr06-{name}.tar.gz"
        (folder / f"{source}-{part}.tar.gz").symlink_to(real)
    result = CliRunner().invoke(main, ["tamil"])
    assert result.exit_code == 0, result.output
    report = json.loads(Path("data/tamil/reports/convert.json").read_text())
    train, test = report["parts"]["train"], report["parts"]["test"]
    assert (train["samples"], train["skipped"]) == (50683, {"apple-double": 523})
    assert train["rejected"] == ({"truncated": 5} if source == "offline" else {})
    assert (train["writers"], train["classes"]) == (117, 156)
    assert train["samples_per_class"] == {"least": 162, "most": 347}
    assert (test["samples"], test["classes"], test["writers"]) == (13463, 156, 0)
    table = read_samples("tamil", ["sample_id", "content_id", "official_part"]).to_pandas()
    assert table["sample_id"].is_unique
    assert f"tamil_{prefix}/usr_16/000t01" in set(table["sample_id"])
    of_train = table[table["official_part"] == "train"]["content_id"]
    assert (
        of_train.value_counts() > 1
    ).sum() == 134  # groups of exact duplicates, counted independently
    assert not set(of_train) & set(table[table["official_part"] == "test"]["content_id"])
