"""The stage folder: your own images become samples, and DVC runs the stages that follow."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image

from pipeline.dataset.samples import SCHEMA
from pipeline.demo.scratch import Scratch
from pipeline.folder.stage import main
from pipeline.images.normalise import content_id, verify
from tests.conftest import ROOT
from tests.loopback import serving
from tests.tables import encoded, image_file, lay
from tests.worlds import draw_shape

Project = Callable[..., Path]


def folder() -> Result:
    return CliRunner().invoke(main, ["birds"])


def samples(root: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(root / "data/birds/samples.parquet").to_pylist()
    return rows


def rejected(root: Path) -> dict[str, str]:
    with (root / "data/birds/rejected.csv").open(encoding="utf-8", newline="") as file:
        return {row["sample_id"]: row["reason"] for row in csv.DictReader(file)}


def report(root: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((root / "data/birds/reports/folder.json").read_text())
    return values


def test_a_folder_for_each_class_becomes_samples(project: Project) -> None:
    root = project(**{"folder.birds": {"path": "mine", "max_side": 64, "min_side": 20}})
    whole = image_file(1)
    lay(
        root / "mine",
        {
            "wren/1.jpg": whole,
            "wren/near/2.png": image_file(2, 40, 30, "PNG"),
            "owl/1.jpg": whole,
            "owl/cut.jpg": whole[:-900],
            "owl/page.jpg": b"<html>",
            "owl/tiny.png": encoded(Image.new("L", (90, 10)), "PNG"),
            "owl/.DS_Store": b"x",
            "notes.txt": b"seen in May",
        },
    )
    result = folder()
    assert result.exit_code == 0, result.output
    table = pq.read_table(root / "data/birds/samples.parquet")
    assert table.schema.equals(SCHEMA, check_metadata=True)
    rows = {row["sample_id"]: row for row in samples(root)}
    assert list(rows) == ["owl/1.jpg", "wren/1.jpg", "wren/near/2.png"]
    # equal bytes with two labels stay two samples of one content; dedupe judges them
    assert rows["owl/1.jpg"]["content_id"] == rows["wren/1.jpg"]["content_id"] == content_id(whole)
    first, png = rows["wren/1.jpg"], rows["wren/near/2.png"]
    assert (first["label"], first["label_name"], first["group"]) == ("wren", "wren", None)
    assert (first["width"], first["height"], first["notes"]) == (64, 46, "reduced")
    assert (first["original_width"], first["original_bytes"]) == (140, len(whole))
    assert png["image"]["path"] == "wren/near/2.png"
    assert verify(png["image"]["bytes"]).format == png["original_format"] == "PNG"
    assert rejected(root) == {
        "notes.txt": "unlabelled",
        "owl/cut.jpg": "truncated",
        "owl/page.jpg": "not-an-image",
        "owl/tiny.png": "too-small",
    }
    assert report(root) == {
        "samples": 3,
        "labels": {"owl": 1, "wren": 2},
        "rejected": {"not-an-image": 1, "too-small": 1, "truncated": 1, "unlabelled": 1},
        "notes": {"reduced": 2},
        "licences": {"unknown": 3},
        "groups": 0,
        "official_parts": {"none": 3},
        "from_urls": 0,
    }


@pytest.mark.parametrize("name", ["birds.csv", "birds.parquet"])
def test_a_table_of_paths_and_urls_becomes_samples(project: Project, name: str) -> None:
    with serving() as server:
        far = server.serve("/far.jpg", image_file(2))
        shared = server.serve("/both.jpg", image_file(3))
        rows: list[tuple[str | None, ...]] = [
            ("near/1.jpg", "wren", "Zaunkönig", "Ann", "CC BY 4.0", "train"),
            (far, "owl", "Eule", "Bob", None, "test"),
            (shared, "owl", None, None, None, None),
            (shared, "wren", None, None, None, None),
            (server.url + "/gone.jpg", "owl", None, "Bob", None, None),
            ("absent.jpg", "owl", None, None, None, None),
            ("near", "owl", None, None, None, None),
        ]
        header = ["file", "species", "label_name", "observer", "licence", "official_part"]
        frame = pd.DataFrame(rows, columns=header)
        root = project(
            **{
                "folder.birds": {
                    "path": "mine",
                    "table": name,
                    "columns": {"image": "file", "label": "species", "group": "observer"},
                },
                "crawl.allow_hosts": [server.host],
            }
        )
        lay(root / "mine", {"near/1.jpg": image_file(1), "unlisted.jpg": image_file(9)})
        write = frame.to_parquet if name.endswith("parquet") else frame.to_csv
        write(root / "mine" / name, index=False)
        result = folder()
        assert result.exit_code == 0, result.output
        found = {row["sample_id"]: row for row in samples(root)}
        assert len(found) == 4
        wren = found["wren/near/1.jpg"]
        assert (wren["label_name"], wren["group"]) == ("Zaunkönig", "Ann")
        assert (wren["licence"], wren["official_part"]) == ("CC BY 4.0", "train")
        owl = next(row for row in found.values() if row["source_url"] == far)
        assert (owl["label"], owl["content_id"]) == ("owl", content_id(image_file(2)))
        assert owl["sample_id"].startswith("owl/")
        assert rejected(root)["owl/absent.jpg"] == rejected(root)["owl/near"] == "missing"
        assert sorted(rejected(root).values()) == ["http-404", "missing", "missing"]
        assert report(root)["from_urls"] == 2
        assert report(root)["groups"] == 2
        assert report(root)["official_parts"] == {"none": 2, "test": 1, "train": 1}
        assert report(root)["licences"] == {"CC BY 4.0": 1, "unknown": 3}
        assert server.hits["/both.jpg"] == 1
        server.answers.clear()
        before = (root / "data/birds/samples.parquet").read_bytes()
        assert folder().exit_code == 0  # downloaded URLs are not requested again
        assert (root / "data/birds/samples.parquet").read_bytes() == before


def test_the_order_of_rows_changes_nothing(project: Project) -> None:
    root = project(**{"folder.birds": {"path": "mine", "table": "t.csv"}})
    lines = [f"{number}.jpg,{'owl' if number % 2 else 'wren'}\n" for number in range(8)]
    lay(root / "mine", {f"{number}.jpg": image_file(number) for number in range(8)})
    found = set()
    for order in (lines, lines[::-1]):
        (root / "mine/t.csv").write_text("path,label\n" + "".join(order))
        assert folder().exit_code == 0
        found.add((root / "data/birds/samples.parquet").read_bytes())
    assert len(found) == 1


def test_files_that_are_too_large_are_not_read(project: Project) -> None:
    root = project(**{"folder.birds": {"path": "mine", "max_pixels": 20_000}})
    large = encoded(Image.new("L", (200, 200)), "PNG")
    lay(root / "mine", {"owl/1.jpg": image_file(1), "owl/2.png": large, "owl/3.raw": b""})
    os.truncate(root / "mine/owl/3.raw", 2_000_000_000)
    (root / "mine/owl/4.jpg").symlink_to("nowhere")
    assert folder().exit_code == 0
    assert rejected(root) == {
        "owl/2.png": "too-many-pixels",
        "owl/3.raw": "too-large",
        "owl/4.jpg": "missing",
    }


def test_a_file_name_that_is_not_utf8_is_read_and_shown(project: Project) -> None:
    root = project(**{"folder.birds": {"path": "mine"}})
    name = os.fsdecode(b"owl/T\xe4nzerin.jpg")
    lay(root / "mine", {name: image_file(1), name + "x": b"<html>"})
    assert folder().exit_code == 0
    assert [row["sample_id"] for row in samples(root)] == ["owl/T\ufffdnzerin.jpg"]
    assert list(rejected(root)) == ["owl/T\ufffdnzerin.jpgx"]


@pytest.mark.parametrize(
    ("params", "files", "message"),
    [
        ({"path": "absent"}, {}, "absent: folder not found; params.yaml names it in folder"),
        ({"path": "mine"}, {}, "mine: no images; expected images in mine/<class>/$"),
        (
            {"path": "mine"},
            {"1.jpg": b"", "2.jpg": b""},
            "; 2 rejected as unlabelled, for example 1.jpg: not in a",
        ),
        (
            {"path": "mine", "table": "t.csv"},
            {},
            "t.csv: file not found; check the name of the table",
        ),
        (
            {"path": "mine", "table": "t.csv"},
            {"t.csv": b"path,label\n"},
            "expected rows with an image and a label in t.csv$",
        ),
    ],
)
def test_without_images_the_error_says_what_to_do(
    project: Project, params: dict[str, str], files: dict[str, bytes], message: str
) -> None:
    root = project(**{"folder.birds": params})
    (root / "mine").mkdir()
    lay(root / "mine", files)
    result = folder()
    assert result.exit_code == 1
    assert re.search(message, result.output, re.MULTILINE), result.output
    assert result.output.count("error: ") == 1 and "Traceback" not in result.output
    assert not (root / "data/birds/samples.parquet").exists()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"path": "mine", "columns": {"label": "x"}}, "table is null"),
        (
            {"path": "mine", "table": "t.csv", "layout": "part/class"},
            "name the parts in the column official_part",
        ),
        ({"path": "mine", "table": "../t.csv"}, "expected a file inside the folder"),
        ({"path": "mine", "table": "t.csv", "columns": {"lable": "x"}}, "folder.birds.columns"),
        ({"path": "mine", "tabel": "t.csv"}, "did you mean table"),
    ],
)
def test_params_that_contradict_themselves(
    project: Project, params: dict[str, object], message: str
) -> None:
    project(**{"folder.birds": params})
    result = folder()
    assert result.exit_code == 1
    assert message in result.output


class Birds:
    """A copy of the project, run by the real DVC, and a folder of images for a third dataset."""

    def __init__(self, root: Path) -> None:
        self.scratch = Scratch(root / "project")
        self.images = root / "my birds"
        self.root = self.scratch.root
        params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        params["train"]["tamil"] |= {
            "size": 32, "batch_size": 8, "frozen_epochs": 1, "unfrozen_epochs": 1,
            "lr_find_steps": 0, "device": "cpu",
        }  # fmt: skip
        self.scratch.create(params)

    def draw(self, label: str, *seeds: int) -> None:
        lay(self.images, {f"{label}/{seed}.png": draw_shape(label, seed) for seed in seeds})

    def run(self, *command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.root,
            env=self.scratch.env,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def repro(self, target: str) -> list[str]:
        """Run `dvc repro` and return the stages that ran."""
        return re.findall(r"Running stage '([^']+)'", self.run("dvc", "repro", target))

    def parts(self) -> dict[str, tuple[str, str]]:
        with (self.root / "data/birds/split.csv").open(encoding="utf-8", newline="") as file:
            return {row["sample_id"]: (row["part"], row["reason"]) for row in csv.DictReader(file)}

    def report(self, stage: str) -> dict[str, Any]:
        path = self.root / f"data/birds/reports/{stage}.json"
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return values


@pytest.mark.slow
def test_a_third_dataset_needs_params_only(tmp_path: Path) -> None:
    birds = Birds(tmp_path)
    birds.draw("disc", *range(30))
    birds.draw("cross", *range(100, 130))
    shutil.copy(birds.images / "disc/3.png", birds.images / "disc/3 - Copy.png")
    shutil.copy(birds.images / "disc/4.png", birds.images / "cross/4.png")
    birds.run("pipeline.cli", "add-dataset", "birds", "../my birds")
    assert birds.repro("split@birds") == ["folder@birds", "dedupe@birds", "split@birds"]
    assert birds.report("folder")["labels"] == {"cross": 31, "disc": 31}
    first = birds.parts()
    assert {part for part, _ in first.values()} == {"train", "valid", "test", "out"}
    assert [first[name][1] for name in ("cross/4.png", "disc/4.png")] == ["label-conflict"] * 2
    copies = {first["disc/3.png"], first["disc/3 - Copy.png"]}
    assert ("out", "same-bytes") in copies and len(copies) == 2
    assert birds.repro("split@birds") == []
    # one more image: DVC sees it, and no other image changes its part
    birds.draw("disc", 31)
    assert birds.repro("split@birds") == ["folder@birds", "dedupe@birds", "split@birds"]
    second = birds.parts()
    assert set(second) - set(first) == {"disc/31.png"}
    assert {name: second[name] for name in first} == first


@pytest.mark.slow
def test_a_table_of_your_own_trains_a_model(tmp_path: Path) -> None:
    birds = Birds(tmp_path)
    labels = {"disc": range(26), "cross": range(104, 130), "bars": range(208, 234)}
    rows = [
        (f"{label}/{seed}.png", label.upper(), f"observer {seed % 13}")
        for label, seeds in labels.items()
        for seed in seeds
    ]
    for label, seeds in labels.items():
        birds.draw(label, *seeds)
    frame = pd.DataFrame(rows, columns=["photo", "species", "observer"])
    frame.to_parquet(birds.images / "seen.parquet")
    options = ["image=photo", "label=species", "group=observer"]
    columns = [word for option in options for word in ("--column", option)]
    birds.run(
        "pipeline.cli",
        "add-dataset",
        "birds",
        "../my birds",
        "--table",
        "seen.parquet",
        "--like",
        "tamil",
        *columns,
    )
    ran = birds.repro("evaluate@birds")
    assert ran == [f"{stage}@birds" for stage in ("folder", "dedupe", "split", "train", "evaluate")]
    assert birds.report("folder")["groups"] == 13
    groups: dict[str, set[str]] = {}
    for name, (part, _) in birds.parts().items():
        if part != "out":
            groups.setdefault(f"observer {int(Path(name).stem) % 13}", set()).add(part)
    assert all(len(parts) == 1 for parts in groups.values())  # no observer is in two parts
    evaluated = birds.report("evaluate")
    assert evaluated["valid"]["count"] > 0
    predictions = pq.read_table(birds.root / "data/birds/predictions.parquet")
    assert set(predictions["predicted"].to_pylist()) <= {"DISC", "CROSS", "BARS"}
    assert birds.repro("evaluate@birds") == []
