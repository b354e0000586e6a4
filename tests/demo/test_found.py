"""What was planted is found in the files of a real run; what these do not show is not found."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests

from pipeline.core.errors import Rejected
from pipeline.demo.found import find_planted
from pipeline.demo.run import table
from pipeline.demo.scenes import Scene, make_scene
from pipeline.demo.scratch import Scratch
from pipeline.demo.web import Web
from pipeline.demo.world import IMAGE_HOSTS, INTRANET, Fault, Url
from pipeline.images import normalise
from tests.kept_demo import Demo

pytestmark = pytest.mark.slow  # they read the demo's project

READ = (  # of a project, by find_planted
    "data/dances/dedupe.parquet",
    "data/tamil/dedupe.parquet",
    "data/tamil/rejected.csv",
    "data/tamil/reports/convert.json",
)


class Run:
    """The files of the demo that tell what it found, in a copy; and the requests of its run."""

    def __init__(self, root: Path, scene: Scene, demo: Demo) -> None:
        self.root, self.scene = root, scene
        self.traffic = demo.traffic
        for name in (*READ, *(f"data/dances/crawl/{d}/ledger.jsonl" for d in scene.drawn_dances)):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(demo.root / name, root / name)

    def found(self) -> dict[str, tuple[int, int]]:
        """Return (planted, found) of each fault."""
        findings = find_planted(self.root, self.scene, self.traffic)
        return {finding.fault: (finding.planted, finding.found) for finding in findings}

    def missed(self) -> set[str]:
        """Return the faults that were not all found."""
        return {fault for fault, (planted, found) in self.found().items() if planted != found}

    def add_request(self, url: Url) -> None:
        """Make a real request to a web of the same world, as if the run had made it."""
        with Web(self.scene.world) as web:
            requests.get(web.url(url), timeout=5, allow_redirects=False)
            (request,) = web.traffic().requests
        self.traffic = replace(self.traffic, requests=[*self.traffic.requests, request])

    def change_marks(self, dataset: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change each row of dedupe.parquet."""
        path = self.root / "data" / dataset / "dedupe.parquet"
        marks = pq.read_table(path)
        rows = marks.to_pylist()
        for row in rows:
            change(row)
        pq.write_table(pa.Table.from_pylist(rows, marks.schema), path)


@pytest.fixture
def run(demo: Demo, scene: Scene, tmp_path: Path) -> Run:
    return Run(tmp_path, scene, demo)


def test_all_that_was_planted_is_found_and_nothing_sound_is_lost(run: Run) -> None:
    found = run.found()
    assert run.missed() == set()
    assert len(found) == 18
    assert set(Fault) < set(found)
    assert all(planted > 0 for planted, _ in found.values())
    assert found["no fault (images)"][0] > 150
    lines = table(find_planted(run.root, run.scene, run.traffic))
    assert len(lines) == 2 + len(found)
    assert not any("NOT ALL" in line for line in lines)


def test_a_crawl_takes_exactly_what_can_be_had(demo: Demo, scene: Scene) -> None:
    assert demo.traffic.of(INTRANET) == []
    for dance in scene.drawn_dances:
        report = json.loads((demo.root / f"data/dances/reports/crawl-{dance}.json").read_text())
        gallery = scene.world.dances.gallery(dance)
        assert gallery is not None
        assert report["asked"] == report["stored"] == gallery.storable
        requested = Counter(
            request.path
            for host in IMAGE_HOSTS
            for request in demo.traffic.of(host)
            if request.path.startswith(f"/{dance}/")
        )
        late = {plant.url.path for plant in gallery.plants if plant.fault == Fault.LATE}
        assert {path for path, count in requested.items() if count > 1} == late
        assert not any("/private/" in path for path in requested)


def test_no_writers_name_gets_into_the_samples(demo: Demo) -> None:
    table = pq.read_table(demo.root / "data/tamil/samples.parquet").drop_columns(["image"])
    assert table.num_rows > 300
    assert "Penmani" not in json.dumps(table.to_pylist())


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("not-an-image", "format", Fault.HTML),
        ('"truncated"', '"format"', Fault.TRUNCATED),
        ("too-many-pixels", "too-small", Fault.BOMB),
        ("http-404", "timeout", Fault.MISSING),
        ("private-address", "dns", Fault.PRIVATE),
        ("http-503", "timeout", Fault.LATE),
        ('"robots"', '"dns"', Fault.ROBOTS),
        ('"opt-out"', '"dns"', Fault.OPT_OUT),
        ('"duplicate"', '"stored"', Fault.SAME_BYTES),
    ],
)
def test_a_fault_with_another_reason_in_the_ledger_is_not_found(
    run: Run, old: str, new: str, fault: Fault
) -> None:
    path = run.root / "data/dances/crawl/jagoi/ledger.jsonl"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    planted, found = run.found()[fault]
    assert 0 < found < planted  # those of the other dances are still found
    assert run.missed() == {fault}
    lines = table(find_planted(run.root, run.scene, run.traffic))
    assert sum("NOT ALL" in line for line in lines) == 1


def test_a_request_that_robots_txt_forbids_undoes_its_find(run: Run) -> None:
    gallery = run.scene.world.dances.gallery("kathak")
    assert gallery is not None
    (forbidden,) = (plant for plant in gallery.plants if plant.fault == Fault.ROBOTS)
    run.add_request(Url(forbidden.url.host, "/robots.txt"))  # which a crawl must request
    assert run.missed() == set()
    run.add_request(forbidden.url)
    assert run.found()[Fault.ROBOTS] == (4, 3)
    assert run.missed() == {Fault.ROBOTS}


def test_a_request_to_the_intranet_undoes_the_find_of_every_redirect(run: Run) -> None:
    run.add_request(Url(INTRANET, "/secret.jpg"))
    assert run.found()[Fault.PRIVATE] == (8, 0)
    assert run.missed() == {Fault.PRIVATE}


def test_a_download_that_starts_again_is_not_a_resumed_one(run: Run) -> None:
    whole = [replace(request, status=200, range=None) for request in run.traffic.requests]
    run.traffic = replace(run.traffic, requests=whole)
    assert run.missed() == {Fault.CUT}


@pytest.mark.parametrize(
    ("dataset", "reason", "missed"),
    [
        ("dances", "near-duplicate", {Fault.RESCALED, Fault.RECOMPRESSED}),
        ("dances", "label-conflict", {Fault.TWO_LABELS}),
        ("tamil", "same-bytes", {Fault.SAME_STROKES}),
    ],
)
def test_what_dedupe_does_not_mark_is_not_found(
    run: Run, dataset: str, reason: str, missed: set[str]
) -> None:
    def keep(row: dict[str, Any]) -> None:
        if row["reason"] == reason:
            row.update(status="keep", reason="", keeper_id=row["sample_id"])

    run.change_marks(dataset, keep)
    assert run.missed() == missed


def test_a_sound_image_that_was_removed_is_not_found(run: Run) -> None:
    def remove(row: dict[str, Any]) -> None:
        if row["label"] == "kathak" and row["status"] == "keep":
            row["status"] = "remove"

    run.change_marks("dances", remove)
    assert "no fault (images)" in run.missed()


def test_a_pen_file_not_rejected_and_files_not_skipped_are_not_found(run: Run) -> None:
    rejected = run.root / "data/tamil/rejected.csv"
    header, first, *_ = rejected.read_text(encoding="utf-8").splitlines()
    rejected.write_text(f"{header}\n{first}\n", encoding="utf-8")
    report = run.root / "data/tamil/reports/convert.json"
    report.write_text(report.read_text().replace("apple-double", "apple-pie"))
    assert run.found()[Fault.CORRUPT] == (2, 1)
    assert run.missed() == {Fault.CORRUPT, Fault.APPLE_DOUBLE}


def test_every_real_image_of_a_folder_is_crawled(
    shared: Path, shipped: dict[str, Any], tmp_path: Path
) -> None:
    scene = make_scene(8, dances=shared / "dances")
    project = Scratch(tmp_path)
    with Web(scene.world) as web:
        project.create(scene.params(shipped, web))
        subprocess.run(
            [sys.executable, "-m", "pipeline.crawl", "manipuri"],
            cwd=project.root,
            env=project.env,
            capture_output=True,
            check=True,
        )
    here = [path.read_bytes() for path in (shared / "dances" / "manipuri").iterdir()]
    sound = set()
    for data in here:
        try:
            normalise.verify(data, min_side=shipped["crawl"]["min_side"])
        except Rejected:
            continue
        sound.add(hashlib.sha256(data).hexdigest())
    stored = {path.stem for path in (tmp_path / "data/dances/crawl/manipuri/images").iterdir()}
    assert stored == sound
    report = json.loads((tmp_path / "data/dances/reports/crawl-manipuri.json").read_text())
    assert report["stored"] + report["duplicates"] + sum(report["refused"].values()) == len(here)
