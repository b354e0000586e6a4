"""The stage collect: each file becomes a sample with its provenance, or a row with a reason."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from click.testing import CliRunner, Result
from PIL import Image

from pipeline.collect.stage import main
from pipeline.dataset.ledger import Attempt
from pipeline.dataset.samples import SCHEMA
from pipeline.images.normalise import content_id, verify
from tests.crawled import append_attempts, store_file
from tests.tables import encoded, image_file

Project = Callable[..., Path]
TWO = {
    "kathak": {"label": "Kathak", "queries": ["kathak"]},
    "jagoi": {"label": "Jagoi (Manipuri)", "queries": ["jagoi"]},
}


def collect() -> Result:
    return CliRunner().invoke(main, [])


def samples(root: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(root / "data/dances/samples.parquet").to_pylist()
    return rows


def rejected(root: Path) -> list[dict[str, str]]:
    with (root / "data/dances/rejected.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def report(root: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((root / "data/dances/reports/collect.json").read_text())
    return values


def test_a_crawled_file_becomes_a_sample_with_its_provenance(project: Project) -> None:
    root = project(dances=TWO)
    data = image_file(1, 1200, 900)
    where: dict[str, Any] = {
        "page_url": "http://page", "query": "கதக் & dance", "rank": 7, "licence": "by-sa",
        "licence_url": "http://by-sa", "creator": "A. Dancer", "attribution": "by A. Dancer",
    }  # fmt: skip
    append_attempts(root, store_file(root, "kathak", data, **where)[1])
    result = collect()
    assert result.exit_code == 0, result.output
    (row,) = samples(root)
    assert pq.read_schema(root / "data/dances/samples.parquet").equals(SCHEMA, check_metadata=True)
    assert {name: row[name] for name in where} == where
    assert row["sample_id"] == f"kathak/{content_id(data)[:16]}"
    assert row["content_id"] == content_id(data)
    assert (row["label"], row["label_name"], row["engine"]) == ("kathak", "Kathak", "bing")
    assert (row["width"], row["height"]) == (512, 384)
    assert (row["original_width"], row["original_height"]) == (1200, 900)
    assert (row["original_bytes"], row["original_format"]) == (len(data), "JPEG")
    assert row["notes"] == "reduced"
    assert row["image"]["path"] == row["sample_id"] + ".jpg"
    assert verify(row["image"]["bytes"]).width == 512
    assert report(root)["licences"] == {"by-sa": 1}
    assert report(root)["labels"] == {"jagoi": 0, "kathak": 1}


def test_your_own_files_are_taken_under_any_name(project: Project) -> None:
    root = project(dances=TWO)
    images = root / "data/dances/crawl/jagoi/images"
    (images / "from my phone").mkdir(parents=True)
    (images / "Meine Tänzerin (1).JPG").write_bytes(image_file(1))
    (images / "no extension").write_bytes(image_file(2, kind="PNG"))
    (images / "from my phone" / "wrong.png").write_bytes(image_file(3))
    (images / ".DS_Store").write_bytes(b"x")
    (images / ".trash").mkdir()
    (images / ".trash" / "a.jpg").write_bytes(image_file(4))
    (images / "z-link").symlink_to(images / "no extension")  # as DVC's cache may be linked
    (root / "elsewhere.jpg").write_bytes(image_file(5))
    (images / "linked.jpg").symlink_to(root / "elsewhere.jpg")
    assert collect().exit_code == 0
    rows = samples(root)
    assert len(rows) == 4
    assert {row["source_url"] for row in rows} == {None}
    assert report(root)["engines"] == {"none": 4}
    assert [row["reason"] for row in rejected(root)] == ["same-bytes"]


def test_a_file_that_is_no_image_is_a_row_with_its_reason(project: Project) -> None:
    root = project(dances=TWO, **{"crawl.max_pixels": 100_000})
    whole = image_file(1, 300, 200)
    kept, line = store_file(root, "kathak", whole)
    append_attempts(root, line)
    bad = {
        "page.jpg": (b"<html>not found</html>", "not-an-image"),
        "cut.jpg": (whole[:-900], "truncated"),
        "vector.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "format"),
        "void.jpg": (b"", "empty"),
        "large.png": (encoded(Image.new("L", (400, 300)), "PNG"), "too-many-pixels"),
        "copy.jpg": (whole, "same-bytes"),
    }
    for name, (data, _) in bad.items():
        (kept.parent / name).write_bytes(data)
    assert collect().exit_code == 0
    assert len(samples(root)) == 1
    rows = {row["sample_id"]: row for row in rejected(root)}
    # of files with equal bytes the first by name stays; either keeps the provenance
    del bad["copy.jpg"]
    for name, (_, reason) in bad.items():
        assert rows[f"kathak/{name}"]["reason"] == reason
        assert rows[f"kathak/{name}"]["detail"]
        assert rows[f"kathak/{name}"]["label"] == "kathak"
        assert rows[f"kathak/{name}"]["source"].endswith(f"images/{name}")
    assert samples(root)[0]["source_url"] == line.source_url
    assert report(root)["rejected"] == {
        "empty": 1, "format": 1, "not-an-image": 1, "same-bytes": 1,
        "too-many-pixels": 1, "truncated": 1,
    }  # fmt: skip


def test_a_url_that_the_crawl_refused_is_listed_by_its_latest_attempt(project: Project) -> None:
    root = project(dances=TWO)

    def attempt(url: str, outcome: str, reason: str | None = None) -> Attempt:
        return Attempt(
            "kathak", "bing", "q", 1, f"http://h/{url}", outcome=outcome, reason=reason, detail="d"
        )

    data = image_file(1)
    append_attempts(
        root,
        attempt("gone", "refused", "http-404"),
        attempt("busy", "retry", "http-503"),
        attempt("busy", "refused", "http-503"),
        attempt("gone", "refused", "http-410"),
        store_file(root, "kathak", data, source_url="http://h/busy")[1],
        attempt("twin", "refused", "timeout"),
        attempt("twin", "duplicate"),
    )
    with (root / "data/dances/crawl/kathak/ledger.jsonl").open("a") as file:
        file.write('{"dance": "kathak", "source_url": "http://h/cu')  # killed here
    assert collect().exit_code == 0
    assert report(root)["refused_by_crawl"] == {"http-410": 1}
    (row,) = rejected(root)
    assert (row["source"], row["reason"], row["detail"]) == ("http://h/gone", "http-410", "d")


def test_files_without_an_accepted_licence_are_rejected(project: Project) -> None:
    root = project(dances=TWO)
    urls = {}
    for number, licence in enumerate(["by", "by-nc", None]):
        _, line = store_file(root, "kathak", image_file(number), licence=licence)
        urls[licence] = line.source_url
        append_attempts(root, line)
    twin = Attempt("kathak", "openverse", "q", 9, "http://other/1.jpg", outcome="duplicate")
    twin.sha256, twin.licence = content_id(image_file(1)), "cc0"
    append_attempts(root, twin)
    (root / "data/dances/crawl/kathak/images/mine.jpg").write_bytes(image_file(7))
    # a later crawl refused the URL, too: its image still is one row
    append_attempts(root, Attempt("kathak", "bing", "q", 3, urls[None], reason="licence"))
    assert collect().exit_code == 0
    assert report(root)["licences"] == {"by": 1, "by-nc": 1, "unknown": 2}
    assert rejected(root) == []

    project(dances=TWO, **{"crawl.licences": ["by", "cc0"]})
    assert collect().exit_code == 0
    assert {(row["licence"], row["source_url"]) for row in samples(root)} == {
        ("by", urls["by"]),
        ("cc0", "http://other/1.jpg"),  # equal bytes, which another URL gives as by-nc
    }
    assert report(root)["rejected"] == {"licence": 2}
    assert report(root)["refused_by_crawl"] == {}
    assert {(row["reason"], row["detail"]) for row in rejected(root)} == {("licence", "unknown")}


def test_only_classes_in_params_count(project: Project) -> None:
    root = project(dances=TWO)
    for number, dance in enumerate(["kathak", "jagoi", "odissi"]):
        append_attempts(root, store_file(root, dance, image_file(number))[1])
    assert collect().exit_code == 0
    assert {row["label"] for row in samples(root)} == {"kathak", "jagoi"}


def test_one_image_in_two_classes_is_two_samples_of_one_content(project: Project) -> None:
    root = project(dances=TWO)
    for dance in TWO:
        append_attempts(root, store_file(root, dance, image_file(1))[1])
    assert collect().exit_code == 0
    first, second = samples(root)
    assert first["content_id"] == second["content_id"]
    assert first["sample_id"] != second["sample_id"]


def test_an_edited_file_keeps_its_provenance_with_its_name(project: Project) -> None:
    root = project(dances=TWO)
    path, line = store_file(root, "kathak", image_file(1))
    append_attempts(root, line)
    path.write_bytes(image_file(2, 120, 90))
    assert collect().exit_code == 0
    (row,) = samples(root)
    assert row["source_url"] == line.source_url
    assert row["notes"] == "edited after the crawl"
    assert row["content_id"] == content_id(image_file(2, 120, 90)) != line.sha256


def test_the_order_of_files_and_threads_does_not_matter(project: Project) -> None:
    root = project(dances=TWO)
    for number in range(24):
        _, line = store_file(
            root, ["kathak", "jagoi"][number % 2], image_file(number, 100 + number * 30)
        )
        append_attempts(root, line)
    assert collect().exit_code == 0
    before = (root / "data/dances/samples.parquet").read_bytes()
    reports = (root / "data/dances/reports/collect.json").read_bytes()
    images = root / "data/dances/crawl/kathak/images"
    moved = sorted(images.iterdir())
    random.Random(3).shuffle(moved)
    for path in moved:  # so that the folder lists them in another order
        shutil.move(path, root / path.name)
    for path in moved:
        shutil.move(root / path.name, path)
    assert collect().exit_code == 0
    assert (root / "data/dances/samples.parquet").read_bytes() == before
    assert (root / "data/dances/reports/collect.json").read_bytes() == reports
    ids = [row["sample_id"] for row in samples(root)]
    assert ids == sorted(ids)


def test_without_images_the_error_says_what_to_do(project: Project) -> None:
    root = project(dances=TWO)
    result = collect()
    assert result.exit_code == 1
    folder = "data/dances/crawl"
    assert result.output.splitlines()[-1] == (
        f"error: {folder}: no images for jagoi, kathak; run `dvc repro crawl@<class>`, "
        f"or put your own images into {folder}/<class>/images/"
    )
    assert not (root / "data/dances/samples.parquet").exists()


def test_without_a_good_image_the_error_counts_the_reasons(project: Project) -> None:
    root = project(dances=TWO)
    kept, line = store_file(root, "kathak", b"<html>")
    append_attempts(root, line)
    (kept.parent / "empty.jpg").write_bytes(b"")
    (kept.parent / "page.jpg").write_bytes(b"<html>2")
    result = collect()
    assert result.exit_code == 1
    counts = "(3 rejected: not-an-image 2, empty 1); run `dvc repro crawl@<class>`"
    assert counts in result.output


def test_a_file_name_that_is_not_utf8_is_shown(project: Project) -> None:
    root = project(dances=TWO)
    images = root / "data/dances/crawl/jagoi/images"
    images.mkdir(parents=True)
    (images / "ok.jpg").write_bytes(image_file(1))
    (images / os.fsdecode(b"T\xe4nzerin.jpg")).write_bytes(b"<html>")
    assert collect().exit_code == 0
    assert [row["sample_id"] for row in rejected(root)] == ["jagoi/T\ufffdnzerin.jpg"]


def test_real_photos_become_samples(project: Project, shared: Path) -> None:
    """Every fourth photo; tests/dedupe ingests all of them."""
    files = sorted((shared / "dances").glob("*/*"))[::4]
    keys = {path.parent.name for path in files}
    root = project(dances={key: {"label": key, "queries": [key]} for key in keys})
    for path in files:
        target = root / "data/dances/crawl" / path.parent.name / "images" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    assert collect().exit_code == 0
    done = report(root)
    assert len(files) == 130
    assert done["samples"] + sum(done["rejected"].values()) == len(files)
    assert set(done["rejected"]) <= {"same-bytes"}
    rows = samples(root)
    assert {row["label"] for row in rows} == keys
    assert all(max(row["width"], row["height"]) <= 512 for row in rows)
