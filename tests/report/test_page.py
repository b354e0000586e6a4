"""The report says what the reports hold, loads nothing, and lets nobody's text become HTML."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from bs4 import BeautifulSoup
from click.testing import CliRunner, Result

from pipeline.core.files import read_json, write_csv, write_json
from pipeline.core.params import Evaluate
from pipeline.dataset.decisions import Decision, append_decisions
from pipeline.dataset.labels import ClassName
from pipeline.dedupe import stage as dedupe
from pipeline.evaluate.stage import evaluate
from pipeline.model.inputs import View
from pipeline.model.network import Card, build, save_model
from pipeline.report.blocks import Cell, Link, Number, Table
from pipeline.report.changes import change, compared
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
    "class_averaged_accuracy": 0.4,
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make a project whose dataset has run through, with texts that would be HTML if they could."""
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
    """Write a dataset that went through dedupe, split and evaluate; its training is made up."""
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
    said = Decision("2026-01-01T00:00:00Z", rows[4]["content_id"], "keep", "", EVIL, "anna")
    append_decisions(folder / "decisions.csv", [said])
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
    header = ("epoch", "stage", "train_loss", "valid_loss", "accuracy", "class_averaged_accuracy")
    write_csv(reports / "train/history.csv", header, [(1, "stage_2", 1.5, "", 0.5, 0.4)])


def report(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def page(*arguments: str) -> BeautifulSoup:
    result = report("--to", "page.html", *arguments)
    assert result.exit_code == 0, result.output
    return BeautifulSoup(Path("page.html").read_text(encoding="utf-8"), "html.parser")


def table(soup: BeautifulSoup, caption: str) -> dict[str, list[str]]:
    """Return a table's rows by their first cell; the header's key is "" alone."""
    found = next(
        each for each in soup.find_all("table") if str(each.caption.string).startswith(caption)
    )
    rows = [[cell.get_text(strip=True) for cell in row.find_all(["th", "td"])]
            for row in found.find_all("tr")]  # fmt: skip
    return {"": rows[0][1:]} | {row[0]: row[1:] for row in rows[1:]}


def test_it_says_what_the_reports_hold(made: Path) -> None:
    soup = page()
    reports = made / "data/birds/reports"
    result, parts = read_json(reports / "evaluate.json"), read_json(reports / "split.json")
    good = table(soup, "How good the model is")
    assert good[""] == ["valid", "test"]
    assert good["samples"][1] == str(result["test"]["count"])
    low, high = (100 * result["test"][f"accuracy_{end}"] for end in ("low", "high"))
    assert good["accuracy"][1].endswith(f"(95%: {low:.1f}% to {high:.1f}%)")
    leak = table(soup, "Share of the held-out")
    assert leak["a near duplicate"][-1] == "0.0%"
    before = parts["leak"]["before"]["near_duplicate"]["mean"]
    assert leak["a near duplicate"][0].startswith(f"{100 * before:.1f}% ±")
    sizes = table(soup, "Parts")
    assert sizes["test"][0] == str(parts["parts"]["test"]["samples"])
    assert table(soup, "Rejected, by reason")["not-an-image"] == ["2"]
    assert table(soup, "Stages of the training")["learning rate"] == ["1e-05 to 0.0001"]
    assert table(soup, "Every epoch")["1"] == ["stage 2", "1.500", "none", "50.0%", "40.0%"]
    assert table(soup, "What became of the samples")["out: a near duplicate of another"] == ["1"]
    decided = table(soup, "The last 1 of 1 decisions")
    assert decided["2026-01-01T00:00:00Z"][2:4] == [EVIL, "anna"]
    assert "Of 49 pictures the licence is unknown" in soup.get_text()


def test_its_pictures_are_in_it(made: Path) -> None:
    soup = page()
    images = soup.find_all("img")
    assert images and all(image["src"].startswith("data:image/") for image in images)
    assert all(image["alt"].strip() for image in images)
    titles = [group.get_text(" ", strip=True) for group in soup.select("figure.group")]
    assert any("near duplicates, the left one kept" in title for title in titles)
    assert any("கா kā" in title for title in titles)
    losses = soup.select("section[aria-labelledby='birds-losses'] .picture p")
    result = read_json(made / "data/birds/reports/evaluate.json")
    assert len(losses) == min(24, result["valid"]["count"] + result["test"]["count"])
    assert all("taken for" in said.get_text() or "rightly" in said.get_text() for said in losses)
    assert Path("page.html").stat().st_size < 1_500_000
    first = Path("page.html").read_bytes()
    page()
    assert Path("page.html").read_bytes() == first, "the same again: nothing depends on the time"


def test_no_text_becomes_html(made: Path) -> None:
    soup = page()
    assert soup.find_all(["script", "iframe", "object", "form", "base"]) == []
    assert EVIL in soup.get_text()
    for tag in soup.find_all(True):
        assert not [name for name in tag.attrs if name.startswith("on") or name == "style"]
    links = [tag["href"] for tag in soup.find_all("a")]
    assert {link.partition(":")[0] for link in links if not link.startswith("#")} == {"https"}
    assert any(link.endswith("?a=1&b=<i>") for link in links)
    assert "javascript:alert(1)" in soup.get_text()  # as a text it may stand there
    policy = str(soup.find("meta", {"http-equiv": "Content-Security-Policy"})["content"])
    digest = hashlib.sha256(str(soup.style.string).encode()).digest()
    assert f"style-src 'sha256-{base64.b64encode(digest).decode()}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_its_headings_are_in_order_and_its_links_lead_somewhere(made: Path) -> None:
    soup = page()
    levels = [int(tag.name[1]) for tag in soup.find_all(["h1", "h2", "h3", "h4"])]
    assert levels[:3] == [1, 2, 3]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    ids = {tag["id"] for tag in soup.find_all(id=True)}
    assert {link["href"][1:] for link in soup.select("a[href^='#']")} <= ids
    assert len(ids) == len(soup.find_all(id=True))
    assert all(each.caption for each in soup.find_all("table"))


def test_what_is_missing_says_what_to_run(project: Project) -> None:
    project()
    soup = page("tamil")
    said = [tag.get_text() for tag in soup.select(".missing code")]
    for command in ("dvc pull", "dvc repro split@tamil", "dvc repro train@tamil",
                    "dvc repro evaluate@tamil", "dvc repro dedupe@tamil"):  # fmt: skip
        assert any(text.startswith(command) for text in said), command
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
def test_what_is_damaged_is_one_line(made: Path, name: str, content: bytes) -> None:
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
    assert result.output.count("\n") == 1 and "data/birds" in result.output
    if "/" in name:
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
    old["test"] |= {"class_averaged_accuracy": 0.999, "accuracy": 0.001, "loss": 99.0}
    path.write_text(json.dumps(old))
    git("init", "--quiet")
    git("add", "--force", "data/birds/reports", "data/birds/decisions.csv")
    git("commit", "--quiet", "-m", f"Before {EVIL}")
    path.write_bytes(now)
    yield made
    subprocess.run(["rm", "-rf", made / ".git"], check=True)


def test_two_runs_stand_side_by_side(in_git: Path) -> None:
    soup = page("birds", "--compare", "HEAD")
    glance = table(soup, "The numbers that say the most")
    assert glance[""] == ["HEAD", "now", "change"]
    now = read_json(in_git / "data/birds/reports/evaluate.json")["test"]
    before, after, change = glance["accuracy on test, averaged over classes"]
    assert before.startswith("99.9%") and after.startswith(
        f"{100 * now['class_averaged_accuracy']:.1f}%"
    )
    assert change.startswith("worse: ")
    assert table(soup, "How good the model is")["loss, test"][2].startswith("better: ")
    assert "What became of the samples: as in HEAD" in [tag.string for tag in soup("summary")]
    assert f"Before {EVIL}" in soup.get_text() and soup.find("script") is None
    assert "and what has changed since" in soup.get_text()


@pytest.mark.parametrize("revision", ["nonsense", "--help", "HEAD:data", "HEAD~9"])
def test_a_revision_that_is_none_is_one_line(in_git: Path, revision: str) -> None:
    result = report("--to", "page.html", f"--compare={revision}")
    assert result.exit_code == 1
    assert result.output == f"error: --compare {revision}: no such revision in git here\n"


def test_without_git_it_says_so(made: Path, project: Project) -> None:
    assert report("--to", "page.html", "--compare", "HEAD").exit_code == 1
    assert "Report on birds" in page("birds").get_text()


def test_a_dataset_that_is_none_is_one_line(made: Path) -> None:
    result = report("fish")
    assert result.exit_code == 1
    assert result.output == "error: data/fish: no such dataset; there are: birds\n"


def share(value: float, better: Any = "higher", *ends: float) -> Number:
    return Number(value, "share", better, *ends)


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [
        (share(0.5), share(0.6), "better: 10.0 points higher"),
        (share(0.6), share(0.5), "worse: 10.0 points lower"),
        (share(0.3, "lower"), share(0.2, "lower"), "better: 10.0 points lower"),
        (share(0.5), share(0.52, "higher", 0.4, 0.6),
         "2.0 points higher, within the 95% interval"),
        (share(0.5), share(0.50001), "about the same"),
        (Number(7), Number(9), "2 more"),
        (Number(9), Number(7), "2 fewer"),
        (Number(1.5, "loss", "lower"), Number(1.25, "loss", "lower"), "better: 0.250 lower"),
        (Number(3e-4, "plain"), Number(1e-4, "plain"), "0.0002 lower"),
        ("all", "head", "changed"),
        (Number(7), Number(7), "the same"),
        (None, Number(7), "new"),
        (Number(None), Number(7), "new"),
        (Number(7), None, "gone"),
    ],
)  # fmt: skip
def test_a_change_is_said_in_words(before: Cell | None, now: Cell | None, words: str) -> None:
    said = change(before, now)
    assert str(said) == words
    assert said.verdict == (words.partition(":")[0] if ":" in words else "")


def test_cells_are_matched_by_row_and_column() -> None:
    header = ("part", "samples", "how")
    old = Table("Parts", header, [("train", Number(5), "x"), ("gone", Number(1), "y")])
    new = Table("Parts", header, [("train", Number(6), "x")])
    [both] = compared([old], [new], "v1")
    assert isinstance(both, Table) and both.header == ("part", "v1", "now", "change")
    assert [[str(cell) for cell in row] for row in both.rows] == [
        ["train, samples", "5", "6", "1 more"],
        ["train, how", "x", "x", "the same"],
        ["gone, samples", "1", "–", "gone"],
        ["gone, how", "y", "–", "gone"],
    ]
    words_only = Table("Archives", ("archive", "source"), [("a", "b")])
    assert compared([], [words_only], "v1") == [words_only]


def test_a_link_leads_to_the_web_alone() -> None:
    assert Link("a", "https://x.example").address == "https://x.example"
    for address in ("javascript:alert(1)", "data:text/html,x", "//x.example", " https://x", None):
        assert Link("a", address).address is None


def test_a_picture_that_cannot_be_opened_is_left_out(project: Project) -> None:
    project()
    rows: list[dict[str, Any]] = [
        picture(f"{n}", drawn(n, (30, 20)), "ab"[n % 2]) for n in range(4)
    ]
    rows[0]["image"] = {"bytes": encoded(drawn(0))[:200], "path": None}
    write("tamil", rows)
    assert len(page("tamil").select(".picture img")) == 3


def test_an_installed_kalai_has_the_template() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["pipeline"]
    shipped = {path for pattern in patterns for path in (ROOT / "pipeline").glob(pattern)}
    assert set((ROOT / "pipeline/report/templates").iterdir()) <= shipped


def test_a_browser_shows_it_and_asks_for_nothing(made: Path, tabs: Tabs) -> None:  # noqa: F811
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
