"""What was planted is found in what the real stages wrote; what they did not find is missed."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
import yaml

from pipeline.core.errors import Rejected
from pipeline.demo.found import find_planted
from pipeline.demo.run import table
from pipeline.demo.scenes import Scene, make_scene
from pipeline.demo.scratch import Scratch
from pipeline.demo.web import Web
from pipeline.demo.world import INTRANET, Url
from pipeline.images import normalise
from tests.conftest import ROOT

UP_TO_DEDUPE = ["collect", "fetch tamil", "convert tamil", "dedupe dances", "dedupe tamil"]


@dataclass
class Run:
    """A project whose stages have run up to dedupe, and the web that they ran on."""

    scene: Scene
    web: Web
    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    def found(self) -> dict[str, tuple[int, int]]:
        """Return (planted, found) of each fault."""
        findings = find_planted(self.data, self.scene, self.web)
        return {finding.fault: (finding.planted, finding.found) for finding in findings}

    def missed(self) -> set[str]:
        """Return the faults of which not all were found."""
        return {fault for fault, (planted, found) in self.found().items() if planted != found}

    def ledger(self, dance: str) -> Path:
        return self.data / "dances" / "crawl" / dance / "ledger.jsonl"


def stage(project: Scratch, name: str) -> None:
    """Run a stage as dvc.yaml does."""
    command = [sys.executable, "-m", *f"pipeline.{name}".split()]
    done = subprocess.run(
        command, cwd=project.root, env=project.env, capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr


def shipped() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    scene = make_scene(8)
    project = Scratch(tmp_path_factory.mktemp("project"))
    with Web(scene.world) as web:
        project.create(scene.params(shipped(), web))
        for name in [*(f"crawl {dance}" for dance in scene.drawn_dances), *UP_TO_DEDUPE]:
            stage(project, name)
        yield Run(scene, web, project.root)


@pytest.fixture
def altered(run: Run) -> Iterator[Run]:
    """Give the run; put back what a test has changed of what it wrote."""
    paths = [run.ledger(dance) for dance in run.scene.drawn_dances]
    paths += [run.data / name / "dedupe.parquet" for name in ("dances", "tamil")]
    paths += [run.data / "tamil" / "rejected.csv", run.data / "tamil/reports/convert.json"]
    before = {path: path.read_bytes() for path in paths}
    yield run
    for path, content in before.items():
        path.write_bytes(content)


def test_all_that_was_planted_is_found_and_nothing_sound_is_lost(run: Run) -> None:
    found = run.found()
    assert run.missed() == set()
    assert len(found) == 18
    assert all(planted > 0 for planted, _ in found.values())
    assert found["nothing wrong (pictures)"][0] > 150
    assert run.web.requests(INTRANET) == []
    lines = table(find_planted(run.data, run.scene, run.web))
    assert len(lines) == 2 + len(found)
    assert not any("NOT ALL" in line for line in lines)


def test_a_crawl_takes_exactly_what_can_be_had(run: Run) -> None:
    for dance in run.scene.drawn_dances:
        report = json.loads((run.data / f"dances/reports/crawl-{dance}.json").read_text())
        gallery = run.scene.world.dances.gallery(dance)
        assert gallery is not None
        assert report["asked"] == report["stored"] == gallery.storable
        asked = Counter(
            request.path
            for host in ("photos", "magazine", "festival")
            for request in run.web.requests(host)
            if request.path.startswith(f"/{dance}/")
        )
        late = {plant.url.path for plant in gallery.plants if plant.fault.startswith("503")}
        assert {path for path, count in asked.items() if count > 1} == late


def test_no_writers_name_gets_past_the_reader(run: Run) -> None:
    table = pq.read_table(run.data / "tamil" / "samples.parquet").drop_columns(["image"])
    assert table.num_rows > 300
    assert "Penmani" not in json.dumps(table.to_pylist())


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("not-an-image", "format", "HTML named .jpg"),
        ('"truncated"', '"format"', "truncated JPEG"),
        ("too-many-pixels", "too-small", "decompression bomb"),
        ("http-404", "timeout", "404"),
        ("private-address", "dns", "redirect to a private address"),
        ("http-503", "timeout", "503 that recovers"),
        ('"robots"', '"dns"', "robots.txt says no"),
        ('"opt-out"', '"dns"', "X-Robots-Tag says no"),
        ('"duplicate"', '"stored"', "same bytes"),
    ],
)
def test_another_word_in_the_ledger_is_a_fault_missed(
    altered: Run, old: str, new: str, fault: str
) -> None:
    path = altered.ledger("jagoi")
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    planted, found = altered.found()[fault]
    assert 0 < found < planted  # the other dances' are still found
    assert altered.missed() == {fault}
    lines = table(find_planted(altered.data, altered.scene, altered.web))
    assert sum("NOT ALL" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("dataset", "reason", "missed"),
    [
        ("dances", "near-duplicate", {"near copy, rescaled", "near copy, recompressed"}),
        ("dances", "label-conflict", {"one picture, two labels"}),
        ("tamil", "same-bytes", {"same pen strokes twice"}),
    ],
)
def test_what_dedupe_does_not_mark_is_missed(
    altered: Run, dataset: str, reason: str, missed: set[str]
) -> None:
    path = altered.data / dataset / "dedupe.parquet"
    marks = pq.read_table(path)
    rows = marks.to_pylist()
    for row in rows:
        if row["reason"] == reason:
            row.update(status="keep", reason="", keeper_id=row["sample_id"])
    pq.write_table(pa.Table.from_pylist(rows, marks.schema), path)
    assert altered.missed() == missed


def test_a_sound_picture_removed_is_missed(altered: Run) -> None:
    path = altered.data / "dances" / "dedupe.parquet"
    marks = pq.read_table(path)
    rows = marks.to_pylist()
    for row in rows:
        if row["label"] == "kathak" and row["status"] == "keep":
            row["status"] = "remove"
    pq.write_table(pa.Table.from_pylist(rows, marks.schema), path)
    assert "nothing wrong (pictures)" in altered.missed()


def test_a_pen_file_not_rejected_and_doubles_not_skipped_are_missed(altered: Run) -> None:
    rejected = altered.data / "tamil" / "rejected.csv"
    header, first, *_ = rejected.read_text(encoding="utf-8").splitlines()
    rejected.write_text(f"{header}\n{first}\n", encoding="utf-8")
    report = altered.data / "tamil" / "reports" / "convert.json"
    report.write_text(report.read_text().replace("apple-double", "apple-pie"))
    assert altered.found()["corrupt pen file"] == (2, 1)
    assert altered.missed() == {"corrupt pen file", "AppleDouble member"}


# Last of those that look at the run: nothing takes a request back.
def test_a_request_inside_undoes_every_redirects_find(run: Run) -> None:
    assert run.missed() == set()
    requests.get(run.web.url(Url(INTRANET, "/secret.jpg")), timeout=5)
    assert run.found()["redirect to a private address"] == (8, 0)


def test_every_real_picture_of_a_folder_is_crawled(shared: Path, tmp_path: Path) -> None:
    scene = make_scene(8, dances=shared / "dances")
    project = Scratch(tmp_path)
    with Web(scene.world) as web:
        project.create(scene.params(shipped(), web))
        stage(project, "crawl manipuri")
    here = [path.read_bytes() for path in (shared / "dances" / "manipuri").iterdir()]
    min_side = shipped()["crawl"]["min_side"]
    sound = set()
    for data in here:
        try:
            normalise.verify(data, min_side=min_side)
        except Rejected:
            continue
        sound.add(hashlib.sha256(data).hexdigest())
    stored = {path.stem for path in (tmp_path / "data/dances/crawl/manipuri/images").iterdir()}
    assert stored == sound
    report = json.loads((tmp_path / "data/dances/reports/crawl-manipuri.json").read_text())
    assert report["stored"] + report["duplicates"] + sum(report["refused"].values()) == len(here)
