"""The page shows what the reports hold, loads nothing from the web, and escapes all text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from bs4 import BeautifulSoup
from click.testing import CliRunner, Result

from pipeline.charts.pair_sheet import KINDS
from pipeline.core.files import read_json, write_csv, write_json
from pipeline.core.params import Evaluate
from pipeline.dataset.decisions import Decision, append_decisions
from pipeline.dataset.dedupe_result import NEAR_DUPLICATE
from pipeline.dataset.labels import ClassName
from pipeline.dedupe import stage as dedupe
from pipeline.evaluate.stage import evaluate
from pipeline.model.inputs import View
from pipeline.model.network import Card, build, save_model
from pipeline.report.page import main
from pipeline.split import stage as split
from tests.browsing import PHONE, Tabs, browser, faults, tabs  # noqa: F401  (fixtures)
from tests.conftest import ROOT
from tests.tables import drawn, encoded, picture, write

Project = Callable[..., Path]
EVIL = "<script>alert(1)</script>"
LABELS = ("042", "b", EVIL)
STAGE = {
    "layers": "all",
    "epochs": 2,
    "lr": [1e-5, 1e-4],
    "lr_suggested": 0.002,
    "train_loss": 1.5,
    "valid_loss": 1.25,
    "accuracy": 0.5,
    "balanced_accuracy": 0.4,
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a project with a dataset after all stages; some of its texts are HTML."""
    root = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        params = (ROOT / "params.yaml").read_text(encoding="utf-8")
        of_birds = "{method: group, valid: 0.2, test: 0.3}"
        params = params.replace("dedupe:\n", "dedupe:\n  birds: {method: phash}\n")
        params = params.replace("split:\n", f"split:\n  birds: {of_birds}\n")
        (root / "params.yaml").write_text(params, encoding="utf-8")
        birds(root)
        yield root


def birds(root: Path) -> None:
    """Run dedupe, split and evaluate on drawn images; write the reports of the other stages."""
    rows = []
    for number in range(48):
        label = LABELS[number % 3]
        urls = (f"https://birds.example/{number}?a=1&b=<i>", "javascript:alert(1)", None)
        more = {"romanised": "kā", "label_name": "கா"} if label == "042" else {"label_name": label}
        image = drawn(number, (160, 120))
        rows.append(picture(f"{number}", image, label, page_url=urls[number % 3], **more))
    near = drawn(0, (160, 120)).resize((120, 90))
    rows.append(picture("near", near, "042", label_name="கா", romanised="kā", quality=75))
    write("birds", rows)
    folder = root / "data/birds"
    decision = Decision("2026-01-01T00:00:00Z", rows[4]["content_id"], "keep", "", EVIL, "anna")
    append_decisions(folder / "decisions.csv", [decision])
    for stage in (dedupe.main, split.main):
        done = CliRunner().invoke(stage, ["birds"])
        assert done.exit_code == 0, done.output
    torch.manual_seed(0)
    classes = tuple(ClassName(label, label) for label in sorted(LABELS))
    card = Card(classes, View(24), (0.5,) * 3, (0.25,) * 3)
    save_model(folder / "model", build(len(classes)), card)
    evaluate("birds", Evaluate(top_losses=4, device="cpu"))
    reports = folder / "reports"
    counts = {"samples": 49, "labels": dict.fromkeys(LABELS, 16), "licences": {"unknown": 49}}
    write_json(reports / "folder.json", counts | {"rejected": {"not-an-image": 2}, "notes": {}})
    fetched = {"url": "javascript:alert(1)", "bytes": 1e6, "sha256": "ab" * 32}
    write_json(reports / "fetch.json", {"letters": fetched})
    trained = {"train": 30, "valid": 8, "classes": 3, "temperature": 1.1, "stage_2": STAGE}
    write_json(reports / "train.json", trained)
    header = ("epoch", "stage", "train_loss", "valid_loss", "accuracy", "balanced_accuracy")
    write_csv(reports / "train/history.csv", header, [(1, "stage_2", 1.5, "", 0.5, 0.4)])


def report(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def page(*arguments: str) -> BeautifulSoup:
    result = report("--to", "page.html", *arguments)
    assert result.exit_code == 0, result.output
    return BeautifulSoup(Path("page.html").read_text(encoding="utf-8"), "html.parser")


def table(soup: BeautifulSoup, caption: str) -> dict[str, list[str]]:
    """Return the rows of a table by their first cell; the header has the key ""."""
    found = next(
        each for each in soup.find_all("table") if str(each.caption.string).startswith(caption)
    )
    rows = [[cell.get_text(strip=True) for cell in row.find_all(["th", "td"])]
            for row in found.find_all("tr")]  # fmt: skip
    return {"": rows[0][1:]} | {row[0]: row[1:] for row in rows[1:]}


def test_the_tables_hold_the_numbers_of_the_reports(made: Path) -> None:
    soup = page()
    reports = made / "data/birds/reports"
    result, parts = read_json(reports / "evaluate.json"), read_json(reports / "split.json")
    measured = table(soup, "Measured performance")
    assert measured[""] == ["validation set", "test set"]
    assert measured["samples"][1] == str(result["test"]["count"])
    low, high = (100 * result["test"][f"accuracy_{end}"] for end in ("low", "high"))
    assert measured["accuracy"][1].endswith(f"(95% CI {low:.1f}% to {high:.1f}%)")
    averaged = measured["balanced accuracy (mean recall of the classes)"][1]
    assert averaged.startswith(f"{100 * result['test']['balanced_accuracy']:.1f}% (95% CI ")
    leak = table(soup, "Share of held-out images with a match")
    assert leak[""] == ["random splits", "validation set", "test set"]
    assert leak["a near-duplicate"][-1] == "0.0%"
    before = parts["leak"]["before"]["near_duplicate"]["mean"]
    assert leak["a near-duplicate"][0].startswith(f"{100 * before:.1f}% ±")
    assert table(soup, "Sets")["test set"][0] == str(parts["parts"]["test"]["samples"])
    assert table(soup, "Rejected files by reason")["not-an-image"] == ["2"]
    assert table(soup, "Stages of training")["learning rate"] == ["1e-05 to 0.0001"]
    assert table(soup, "All epochs")["1"] == ["stage 2", "1.500", "none", "50.0%", "40.0%"]
    duplicates = table(soup, "Result of the search for duplicates")
    assert duplicates["removed: near-duplicate of another image"] == ["1"]
    decided = table(soup, "Decisions in data/birds/decisions.csv (last 1 of 1)")
    assert decided["2026-01-01T00:00:00Z"][2:4] == [EVIL, "anna"]
    assert "Licence unknown: 49 images." in soup.get_text()


def test_the_images_are_in_the_page(made: Path) -> None:
    soup = page()
    images = soup.find_all("img")
    assert images and all(image["src"].startswith("data:image/") for image in images)
    assert all(image["alt"].strip() for image in images)
    titles = [group.get_text(" ", strip=True) for group in soup.select("figure.group")]
    assert any(KINDS[NEAR_DUPLICATE] in title for title in titles)
    assert any("கா kā" in title for title in titles)
    notes = soup.select("section[aria-labelledby='birds-losses'] .thumbnail p")
    result = read_json(made / "data/birds/reports/evaluate.json")
    assert len(notes) == min(24, result["valid"]["count"] + result["test"]["count"])
    form = re.compile(r"predicted .+, \d+% \((correct|labelled .+)\), (validation|test) set")
    assert all(form.match(note.get_text()) for note in notes)
    assert Path("page.html").stat().st_size < 1_500_000
    first = Path("page.html").read_bytes()
    page()
    assert Path("page.html").read_bytes() == first, "the page does not depend on the time"


def test_no_text_becomes_html(made: Path) -> None:
    soup = page()
    assert soup.find_all(["script", "iframe", "object", "form", "base"]) == []
    assert EVIL in soup.get_text()
    for tag in soup.find_all(True):
        assert not [name for name in tag.attrs if name.startswith("on") or name == "style"]
    links = [tag["href"] for tag in soup.find_all("a")]
    assert {link.partition(":")[0] for link in links if not link.startswith("#")} == {"https"}
    assert any(link.endswith("?a=1&b=<i>") for link in links)
    assert "javascript:alert(1)" in soup.get_text()  # as text
    policy = str(soup.find("meta", {"http-equiv": "Content-Security-Policy"})["content"])
    digest = hashlib.sha256(str(soup.style.string).encode()).digest()
    assert f"style-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_headings_are_in_order_and_links_have_targets(made: Path) -> None:
    soup = page()
    levels = [int(tag.name[1]) for tag in soup.find_all(["h1", "h2", "h3", "h4"])]
    assert levels[:3] == [1, 2, 3]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = {tag["id"] for tag in soup.find_all(id=True)}
    assert {link["href"][1:] for link in soup.select("a[href^='#']")} <= ids
    assert len(ids) == len(soup.find_all(id=True))
    assert all(each.caption for each in soup.find_all("table"))


def test_a_missing_report_names_the_command_that_writes_it(project: Project) -> None:
    project()
    soup = page("tamil")
    commands = [tag.get_text() for tag in soup.select(".missing code")]
    for command in ("dvc pull", "dvc repro split@tamil", "dvc repro train@tamil",
                    "dvc repro evaluate@tamil", "dvc repro dedupe@tamil"):  # fmt: skip
        assert any(text.startswith(command) for text in commands), command
    assert soup.find_all("table") == []
    assert [tag.string for tag in page().find_all("h2")] == ["dances", "tamil"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("reports/split.json", b"{"),
        ("reports/split.json", b"[]"),
        ("reports/split.json", b'{"method": "group"}'),
        ("reports/evaluate.json", b'{"valid": {"count": "many"}, "test": {"count": 0}}'),
        ("reports/evaluate/per_class.csv", b"a,b\n1,2\n"),
        ("reports/train/history.csv", b"\xff\xfe\x00"),
        ("reports/crawl-kathak.json", b"null"),
        ("decisions.csv", b"nonsense\n"),
        ("predictions.parquet", b"PAR1 nonsense"),
        ("samples.parquet", b"PAR1 nonsense"),
        ("dedupe.parquet", b"PAR1 nonsense"),
        ("split.csv", b"nothing\n1\n"),
    ],
)
def test_a_damaged_file_is_one_line_with_its_path(made: Path, name: str, content: bytes) -> None:
    path = made / "data/birds" / name
    before = path.read_bytes() if path.exists() else None
    path.write_bytes(content)
    try:
        result = report("--to", "damaged.html")
    finally:
        path.unlink()
        if before is not None:
            path.write_bytes(before)
    assert result.exit_code == 1 and result.output.startswith("error: ")
    assert result.output.count("\n") == 1
    assert f"data/birds/{name}".replace("kathak", "*") in result.output
    assert not Path("damaged.html").exists()


def git(*arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], check=True, capture_output=True)


@pytest.fixture
def in_git(made: Path) -> Iterator[Path]:
    """Give the project as a git repository whose commit holds other numbers."""
    path = made / "data/birds/reports/evaluate.json"
    now = path.read_bytes()
    old = json.loads(now)
    old["test"] |= {"balanced_accuracy": 0.999, "accuracy": 0.001, "loss": 99.0}
    path.write_text(json.dumps(old))
    git("init", "--quiet")
    git("add", "--force", "data/birds/reports", "data/birds/decisions.csv")
    git("commit", "--quiet", "-m", f"Before {EVIL}")
    path.write_bytes(now)
    yield made
    subprocess.run(["rm", "-rf", made / ".git"], check=True)


def test_two_runs_stand_side_by_side(in_git: Path) -> None:
    soup = page("birds", "--compare", "HEAD")
    numbers = table(soup, "Key numbers")
    assert numbers[""] == ["HEAD", "now", "change"]
    now = read_json(in_git / "data/birds/reports/evaluate.json")["test"]
    before, after, change = numbers["balanced accuracy on the test set"]
    assert before.startswith("99.9%") and after.startswith(f"{100 * now['balanced_accuracy']:.1f}%")
    assert change.startswith("worse: ")
    assert table(soup, "Measured performance")["loss, test set"][2].startswith("better: ")
    folded = "Result of the search for duplicates: no change since HEAD"
    assert folded in [tag.string for tag in soup("summary")]
    assert f"Before {EVIL}" in soup.get_text() and soup.find("script") is None
    assert "with uncommitted changes in data/" in soup.get_text()


def test_a_damaged_report_of_a_revision_is_named_as_git_names_it(in_git: Path) -> None:
    path = in_git / "data/birds/reports/split.json"
    now = path.read_bytes()
    path.write_bytes(b"[]")
    git("commit", "--quiet", "-m", "Damage", "--", "data/birds/reports/split.json")
    path.write_bytes(now)
    result = report("--to", "damaged.html", "--compare", "HEAD")
    assert result.exit_code == 1
    assert result.output.startswith("error: HEAD:data/birds/reports/split.json: file is damaged")


@pytest.mark.parametrize("revision", ["nonsense", "--help", "HEAD:data", "HEAD~9"])
def test_an_unknown_revision_is_one_line(in_git: Path, revision: str) -> None:
    result = report("--to", "page.html", f"--compare={revision}")
    assert result.exit_code == 1
    assert result.output == (
        f"error: --compare {revision}: not a commit of this git repository; see `git log`\n"
    )


def test_a_page_needs_no_git_repository(made: Path) -> None:
    compared = report("--to", "page.html", "--compare", "HEAD")
    assert compared.exit_code == 1
    assert "error: --compare HEAD: not a commit of this git repository" in compared.output
    assert "Report on birds" in page("birds").get_text()


def test_an_image_that_cannot_be_decoded_is_left_out(project: Project) -> None:
    project()
    rows: list[dict[str, Any]] = [
        picture(f"{n}", drawn(n, (30, 20)), "ab"[n % 2]) for n in range(4)
    ]
    rows[0]["image"] = {"bytes": encoded(drawn(0))[:200], "path": None}
    write("tamil", rows)
    assert len(page("tamil").select(".thumbnail img")) == 3


def test_the_package_contains_the_templates() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["pipeline"]
    shipped = {path for pattern in patterns for path in (ROOT / "pipeline").glob(pattern)}
    assert set((ROOT / "pipeline/report/templates").iterdir()) <= shipped


@pytest.mark.slow
def test_a_browser_shows_the_page_and_loads_nothing(made: Path, tabs: Tabs) -> None:  # noqa: F811
    page("birds")
    url = (made / "page.html").as_uri()
    desktop = tabs.open(url)
    assert faults(desktop) == []
    assert desktop.title() == "kalai report: birds"
    desktop.keyboard.press("Tab")
    assert desktop.evaluate("document.activeElement.className") == "skip"
    assert desktop.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    phone = tabs.open(url, **PHONE)
    assert phone.evaluate("document.documentElement.scrollWidth") == 375
    dark = tabs.open(url, color_scheme="dark")
    assert faults(dark) == []
    papers = [
        tab.evaluate("getComputedStyle(document.body).backgroundColor") for tab in (desktop, dark)
    ]
    assert papers[0] != papers[1]
