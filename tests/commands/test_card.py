"""A dataset card holds what the files hold, and the Hugging Face hub can read it."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result
from PIL import Image

from pipeline.charts.contact_sheet import CELL
from pipeline.commands.card import chosen, main
from pipeline.commands.card_markdown import Facts, hub_licence, size_category
from pipeline.dataset.decisions import Decision, append_decisions
from pipeline.dataset.labels import class_names
from pipeline.dedupe import stage as dedupe
from pipeline.folder import stage as folder
from pipeline.images.normalise import content_id
from pipeline.split import stage as split
from tests.tables import lay
from tests.worlds import draw_shape

Project = Callable[..., Path]
LABELS = ("disc", "cross", "ring")
PER_LABEL = 14


def birds(project: Project, **more: Any) -> Path:
    """Make a project with a dataset of shapes: copies, a label conflict, and rejected files."""
    root = project(
        **{
            "folder.birds": {"path": "mine", "table": "seen.csv"},
            "dedupe.birds": {"method": "exact"},
            "split.birds": {"method": "group", "valid": 0.2, "test": 0.2},
            **more,
        }
    )
    rows = []
    for base, label in enumerate(LABELS):
        for number in range(PER_LABEL):
            path = f"{label}/{number}.png"
            lay(root / "mine", {path: draw_shape(label, 100 * base + number)})
            url = "https://photos.example.org/p/1" if number < 4 else None
            licence = (
                ("by", "https://creativecommons.org/licenses/by/4.0/") if url else (None, None)
            )
            rows.append((path, label, f"Shape | {label}", f"writer {number}", url, *licence))
    lay(root / "mine", {"copy.png": draw_shape("disc", 5), "both.png": draw_shape("ring", 207)})
    lay(root / "mine", {"page.png": b"<html>"})
    rows += [(name, label, label, None, None, None, None) for name, label in (
        ("copy.png", "disc"), ("both.png", "cross"), ("page.png", "disc"), ("gone.png", "disc")
    )]  # fmt: skip
    header = ["path", "label", "label_name", "group", "page_url", "licence", "licence_url"]
    pd.DataFrame(rows, columns=header).to_csv(root / "mine/seen.csv", index=False)
    assert CliRunner().invoke(folder.main, ["birds"]).exit_code == 0
    return root


def card(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["birds", *arguments])


def text_of(root: Path) -> str:
    return (root / "data/birds/reports/card.md").read_text(encoding="utf-8")


def table(text: str, heading: str, number: int = 0) -> list[dict[str, str]]:
    """Return a table of a section as rows by column."""
    section = text.split(f"## {heading}\n")[1].split("\n## ", maxsplit=1)[0]
    blocks = [block for block in section.split("\n\n") if block.strip().startswith("|")]
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in blocks[number].strip().splitlines()]
    header, _, *rows = [[cell.strip() for cell in line] for line in lines]
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_a_card_before_dedupe_and_split(project: Project) -> None:
    root = birds(project)
    assert card().exit_code == 0
    text = text_of(root)
    assert "44 images of 3 classes." in text
    assert "Duplicates have not been searched for yet." in text
    assert "The dataset has not been split yet." in text
    assert "The split has not been audited yet." in text
    assert list(table(text, "Classes")[0]) == ["label", "name", "samples"]


def test_a_card_holds_what_the_files_hold(project: Project) -> None:
    root = birds(project)
    assert CliRunner().invoke(dedupe.main, ["birds"]).exit_code == 0
    # a person decides that this disc is a ring
    of_disc = content_id(draw_shape("disc", 9))
    decided = Decision("2026-01-01T00:00:00Z", of_disc, "relabel", "ring")
    append_decisions(root / "data/birds/decisions.csv", [decided])
    done = CliRunner().invoke(split.main, ["birds"])
    assert done.exit_code == 0, done.output
    result = card()
    assert result.exit_code == 0, result.output
    assert "reports/card.md and data/birds/card.png" in result.output
    text = text_of(root)
    with (root / "data/birds/split.csv").open(encoding="utf-8", newline="") as file:
        parts = Counter((row["label"], row["part"]) for row in csv.DictReader(file))
    marks = pq.read_table(root / "data/birds/dedupe.parquet").to_pylist()
    classes = {row["label"]: row for row in table(text, "Classes")}
    assert list(classes) == ["cross", "disc", "ring", "all"]
    for label in LABELS:
        row = classes[label]
        for part in ("train", "valid", "test", "out"):
            assert int(row[part]) == parts[label, part]
    assert int(classes["all"]["kept"]) == sum(mark["status"] == "keep" for mark in marks)
    assert int(classes["ring"]["samples"]) == PER_LABEL + 1
    assert classes["ring"]["name"] == r"Shape \| ring"
    reports = {
        name: json.loads((root / f"data/birds/reports/{name}.json").read_text())
        for name in ("dedupe", "split")
    }
    out = {row["left out because"]: int(row["samples"]) for row in table(text, "Duplicates")}
    assert out["same-bytes"] == reports["dedupe"]["removed"]["same-bytes"] == 1
    assert out["label-conflict"] == 2
    assert "Duplicates are images with identical bytes." in text
    sizes = {row["part"]: int(row["samples"]) for row in table(text, "Splits")}
    assert sizes == {part: row["samples"] for part, row in reports["split"]["parts"].items()}
    leak = {row["match"]: row for row in table(text, "Leak audit")}
    before = reports["split"]["leak"]["before"]["same_group"]["mean"]
    group = leak["an image of the same group"]
    assert group["random splits"].startswith(f"{100 * before:.1f}% ±")
    assert before > 0 and group["validation set"] == group["test set"] == "0.0%"
    hosts = table(text, "Sources")
    assert hosts == [{"host": "photos.example.org", "images": "12"}]
    assert "42 of 44 images have a known group (writer or maker); there are 14 groups." in text
    rejected = {row["reason"]: row["files"] for row in table(text, "Sources", 2)}
    assert rejected == {"missing": "1", "not-an-image": "1"}
    assert table(text, "Licences") == [
        {"licence": "unknown", "images": "32"},
        {"licence": "by", "images": "12"},
    ]
    assert "Licence unknown: 32 images." in text
    # a second run writes the same bytes
    sheet = (root / "data/birds/card.png").read_bytes()
    assert card().exit_code == 0
    assert text_of(root) == text and (root / "data/birds/card.png").read_bytes() == sheet


def test_the_hub_reads_a_published_card(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    root = birds(project)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(root / "home"))
    import datasets
    from huggingface_hub import DatasetCard

    assert card("--to", "published").exit_code == 0
    shutil.copy(root / "data/birds/samples.parquet", root / "published")
    assert not (root / "data/birds/reports/card.md").exists()
    page = root / "published/README.md"
    assert "](card.png)" in page.read_text(encoding="utf-8")
    read = DatasetCard.load(page)
    assert read.data.pretty_name == "Birds"
    assert read.data.license == "other"  # licences differ
    assert read.data.size_categories == ["n<1K"]
    found: Any = datasets.load_dataset(
        str(root / "published"), split="samples", cache_dir=str(root / "cache")
    )
    assert len(found) == 44
    assert isinstance(found[0]["image"], Image.Image)


def test_the_sheet_shows_images_in_use(project: Project) -> None:
    root = birds(project)
    assert card("--pictures", "0").exit_code == 0
    assert not (root / "data/birds/card.png").exists() and "card.png" not in text_of(root)
    assert card("--pictures", "3").exit_code == 0
    sheet = Image.open(root / "data/birds/card.png").copy()
    # three of each class, two classes in a row
    assert 6 * CELL < sheet.width < 7 * CELL and 2 * CELL < sheet.height < 3 * CELL
    assert "](../card.png)" in text_of(root)


@pytest.mark.parametrize("report", ['{"method": "group"}', "{", "[]"])
def test_a_damaged_report_is_one_line(project: Project, report: str) -> None:
    root = birds(project)
    (root / "data/birds/reports/split.json").write_text(report)
    result = card()
    assert result.exit_code == 1
    assert result.output.startswith("error: data/birds/reports/split.json: file is damaged")
    assert result.output.count("\n") == 1
    assert not (root / "data/birds/reports/card.md").exists()


def test_a_class_is_named_in_a_font_that_exists(no_fonts: None) -> None:
    rows = [
        ("a/1", "2", "a", "Aye", None, None),
        ("a/2", "1", "a", "Aye", None, None),
        ("க/3", "3", "க", "க", None, None),
        ("042/4", "4", "042", "கா", "kā", None),
        ("042/5", "0", "042", "கா", "kā", "out"),
        ("b/6", "5", "b", "b", None, None),
    ]
    columns = ["sample_id", "content_id", "label", "label_name", "romanised", "part"]
    samples = pd.DataFrame(rows, columns=columns, dtype=object).assign(status=None)
    samples.loc[2, "status"] = "keep"
    names = class_names(pa.Table.from_pandas(samples[["label", "label_name", "romanised"]]))
    facts = Facts("birds", samples, names, Counter(), None, None, None)
    assert chosen(facts, None) == {
        "042 kā": ["042/4"],
        "a Aye": ["a/2", "a/1"],
        "b": ["b/6"],
        "class 4": ["க/3"],
    }
    assert chosen(facts, 1)["a Aye"] == ["a/2"]
    samples.loc[2, "status"] = "remove"
    assert "class 4" not in chosen(facts, None)


def test_an_unknown_dataset_has_no_card(project: Project) -> None:
    project()
    result = card()
    assert result.exit_code == 1
    assert "error: unknown dataset 'birds'; this project has: dances, tamil" in result.output


@pytest.mark.parametrize(
    ("name", "url", "known"),
    [
        (None, None, "unknown"),
        ("by", "https://creativecommons.org/licenses/by/4.0/", "cc-by-4.0"),
        ("by-nc-sa", "http://creativecommons.org/licenses/by-nc-sa/2.0/deed.en", "cc-by-nc-sa-2.0"),
        ("by", "https://creativecommons.org/licenses/by/1.0/", "other"),
        ("cc0", "https://creativecommons.org/publicdomain/zero/1.0/", "cc0-1.0"),
        ("CC BY-SA 4.0", None, "cc-by-sa-4.0"),
        ("CC0", None, "cc0-1.0"),
        ("pdm", "https://creativecommons.org/publicdomain/mark/1.0/", "other"),
        ("by", None, "other"),  # without a version
        ("ask me", None, "other"),
        (None, "https://example.org/terms", "other"),
    ],
)
def test_a_licence_has_the_hub_s_identifier(name: str | None, url: str | None, known: str) -> None:
    assert hub_licence(name, url) == known


@pytest.mark.parametrize(
    ("count", "word"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (64_146, "10K<n<100K"), (10**12, "n>1T")],
)
def test_a_size_has_the_hub_s_category(count: int, word: str) -> None:
    assert size_category(count) == word
    assert yaml.safe_load(f"size: [{word}]") == {"size": [word]}
