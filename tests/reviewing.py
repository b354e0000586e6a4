"""A drawn dataset with something in every tab of the review page."""

from __future__ import annotations

import csv
import hashlib
import os
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image, ImageOps

from pipeline.dataset import predictions as predictions_table
from pipeline.dataset import suspects_table
from pipeline.dataset.ledger import Attempt, Ledger
from pipeline.dataset.paths import dataset_folder
from pipeline.dataset.rejected import write_rejected
from pipeline.dedupe import stage as dedupe
from pipeline.demo import figures
from pipeline.split import stage as split
from tests.conftest import ROOT
from tests.tables import encoded, picture, write

NAME = "stage"
LABELS = {"kathak": "Kathak", "odissi": "Oḍissi", "jagoi": "<b>Jagoi</b> & more"}
EACH = 12  # pictures of a class that nothing is wrong with
PARAMS = {
    f"dedupe.{NAME}": {"method": "phash", "remove_within": 4, "mirror": True},
    f"split.{NAME}": {"method": "group", "valid": 0.2, "test": 0.2},
}
QUERY = '"><script>alert(1)</script>'


def drawn(label: str, number: int) -> Image.Image:
    """Draw a dancer."""
    return figures.draw(figures.STYLES[label], random.Random(f"{label} {number}"))


def row(label: str, number: object, image: Image.Image, **more: Any) -> dict[str, Any]:
    """Return a sample's row, found on a page of its own."""
    page = f"https://photos.example/{label}/{number}"
    return picture(
        str(number),
        image,
        label,
        label_name=LABELS[label],
        query=QUERY if label == "jagoi" else f"{label} dance",
        engine="bing",
        rank=1,
        page_url=f"{page}.html",
        source_url=f"{page}.jpg",
        licence="by-sa",
        licence_url="https://creativecommons.org/licenses/by-sa/4.0/",
        creator="Meera =SUM(1)",
        **more,
    )


def sample_rows(each: int = EACH) -> list[dict[str, Any]]:
    """Return sound pictures, a near copy, a mirrored one and one picture under two labels."""
    rows = [row(label, number, drawn(label, number)) for label in LABELS for number in range(each)]
    first = drawn("kathak", 0)
    near = first.resize((first.width * 3 // 4, first.height * 3 // 4))
    rows.append(row("kathak", "near", near, quality=70))
    rows.append(row("odissi", "mirrored", ImageOps.mirror(drawn("odissi", 1))))
    twice = next(each for each in rows if each["sample_id"] == "jagoi/3")
    rows.append(twice | {"sample_id": "odissi/twice", "label": "odissi", "label_name": "Oḍissi"})
    return rows


def write_stage(project: Callable[..., Path], each: int = EACH) -> Path:
    """Enter a project that holds the dataset, through dedupe and split, and what comes after."""
    root = project(**PARAMS)
    write(NAME, sample_rows(each))
    (dataset_folder(NAME) / "decisions.csv").write_text(
        "time,content_id,action,label,reason,who\n", encoding="utf-8"
    )
    for stage in (dedupe.main, split.main):
        result = CliRunner().invoke(stage, [NAME])
        assert result.exit_code == 0, result.output
    write_judged()
    write_refused()
    return root


def split_rows() -> list[dict[str, str]]:
    """Return the rows of split.csv."""
    with (dataset_folder(NAME) / "split.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_judged() -> None:
    """Write predictions, every third one wrong, and suspects: a model need not run for that."""
    labels = list(LABELS)
    held = [row for row in split_rows() if row["part"] in ("valid", "test")]
    predictions: list[dict[str, object]] = []
    suspects: list[dict[str, object]] = []
    for number, each in enumerate(held):
        wrong = labels[(labels.index(each["label"]) + 1) % 3]
        predicted = wrong if number % 3 == 0 else each["label"]
        ids = {name: each[name] for name in ("sample_id", "content_id", "label")}
        sure, own = (0.8, 0.1 - number / 1000) if predicted == wrong else (0.7, 0.7)
        predictions.append(
            ids
            | {"part": each["part"], "predicted": predicted, "probability": sure}
            | {"label_probability": own, "loss": 5 - own * 6, "top3": [predicted, *labels[:2]]}
        )
        if predicted == wrong:
            chances: dict[str, object] = {
                "label_probability": own,
                "suggested_probability": sure,
                "margin": sure - own,
            }
            suspects.append(
                ids | chances | {"suggested": wrong, "fold": 0, "rank": len(suspects) + 1}
            )
    _write_table("predictions.parquet", predictions, predictions_table.SCHEMA)
    _write_table("suspects.parquet", suspects, suspects_table.SCHEMA)


def _write_table(name: str, rows: Sequence[dict[str, Any]], schema: pa.Schema) -> None:
    pq.write_table(pa.Table.from_pylist(list(rows), schema), dataset_folder(NAME) / name)


def write_refused() -> None:
    """Write what was refused: a URL, a file cut short, a file that can be shown, and attacks."""
    folder = dataset_folder(NAME) / "crawl" / "kathak"
    url = "https://photos.example/kathak/gone.jpg"
    with Ledger(folder) as ledger:
        gone = Attempt("kathak", "bing", "kathak dance", 9, url, f"{url}.html", reason="http-404")
        ledger.add(gone)
    tiny = encoded(drawn("kathak", 99).resize((40, 50)))
    (folder / "images" / "tiny.jpg").write_bytes(tiny)
    (folder / "images" / "cut.jpg").write_bytes(tiny[: len(tiny) // 2])
    Path("secret.jpg").write_bytes(encoded(drawn("kathak", 98)))
    (folder / "images" / "link.jpg").symlink_to(Path("secret.jpg").resolve())
    own = "data/stage/crawl/kathak/images"
    write_rejected(
        NAME,
        [
            ("", "kathak", "http-404", "Not Found", url),
            ("kathak/tiny.jpg", "kathak", "too-small", "40x50", f"{own}/tiny.jpg"),
            ("kathak/cut.jpg", "kathak", "truncated", "at the end", f"{own}/cut.jpg"),
            ("kathak/../../../../../secret.jpg", "kathak", "odd", "a way out", "secret.jpg"),
            ("kathak/link.jpg", "kathak", "odd", "a link out", "secret.jpg"),
        ],
    )


def sha256(path: str | Path) -> str:
    """Return the content id of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the drawn dataset once; every test has a copy."""
    root = tmp_path_factory.mktemp("made")
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))

    def project(**changes: Any) -> Path:
        for dotted, value in changes.items():
            section, name = dotted.split(".")
            values[section][name] = value
        text = yaml.safe_dump(values, allow_unicode=True, sort_keys=False)
        (root / "params.yaml").write_text(text, encoding="utf-8")
        return root

    before = Path.cwd()
    os.chdir(root)
    try:
        return write_stage(project)
    finally:
        os.chdir(before)


@pytest.fixture
def stage(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a copy of the project with the drawn dataset."""
    root = tmp_path / "project"
    shutil.copytree(made, root, symlinks=True)
    monkeypatch.chdir(root)
    return root
