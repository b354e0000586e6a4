"""The tabs: their registry, and what each of them shows."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dataset.paths import crawl_folder
from pipeline.dataset.predictions import read_predictions
from pipeline.dataset.suspects_table import read_suspects
from pipeline.pages.review import tabs as package
from pipeline.pages.review.app import make_page
from pipeline.pages.review.reviewed import ReviewedDataset
from pipeline.pages.review.tabs.registry import TABS
from pipeline.pages.review.tabs.similarity import groups_of
from pipeline.pages.review.tabs.tab import Tab
from tests.browsing import served
from tests.reviewing import LABELS, NAME, WHO, Client, held_out, sha256
from tests.tables import sample, write


def test_the_registry_lists_each_module_with_a_tab_once() -> None:
    modules = [
        importlib.import_module(f"{package.__name__}.{each.name}")
        for each in pkgutil.iter_modules(package.__path__)
    ]
    found = [module.TAB for module in modules if hasattr(module, "TAB")]
    assert sorted(tab.key for tab in found) == sorted(tab.key for tab in TABS)
    assert len({tab.key for tab in TABS}) == len({tab.title for tab in TABS}) == len(TABS)
    assert len(TABS) <= 9, "keys 1 to 9 choose a tab"


def test_a_tab_needs_its_module_and_the_registry_only(root: Path) -> None:
    """The page lists it, and the server answers for it."""
    path = root / "outliers.csv"
    new = Tab("new", "New", lambda data: [], (lambda name: path,), "kalai new {dataset}", "None.")
    reviewed = ReviewedDataset(NAME, WHO, [*TABS, new])
    missing = json.loads(reviewed.tabs())["new"]
    assert missing["empty"] == {"text": "Not computed yet.", "command": f"kalai new {NAME}"}
    version = reviewed.version()
    path.write_text("")
    assert reviewed.version() != version, "the page learns of the file that the tab needs"
    assert json.loads(reviewed.tabs())["new"]["empty"] == {"text": "None."}


def test_each_tab_shows_its_images(reader: Client) -> None:
    index, tabs = reader.get("/index"), reader.get("/tabs")
    ids = index["sample_id"]
    assert list(tabs) == [tab.key for tab in TABS]
    assert all(tab["empty"] is None for tab in tabs.values())

    (section,) = tabs["losses"]["sections"]
    losses = [index["columns"]["loss"]["values"][row] for row in section["rows"]]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) == len(held_out())
    predictions = {row["sample_id"]: row for row in read_predictions(NAME).to_pylist()}
    for row, notes in zip(section["rows"], section["notes"], strict=True):
        of = predictions[ids[row]]
        name = LABELS[of["predicted"]]
        is_correct = of["predicted"] == of["label"]
        judged = "70% (correct)" if is_correct else f"80% (labelled {LABELS[of['label']]})"
        part = {"valid": "validation", "test": "test"}[of["part"]]
        assert notes == [f"predicted {name}, {judged}", f"loss {of['loss']:.2f} · {part}"]

    (conflict,) = tabs["conflicts"]["sections"]
    assert {ids[row] for row in conflict["rows"]} == {"jagoi/3", "odissi/twice"}
    assert conflict["title"] == "2 images, 2 labels"
    assert conflict["notes"] == [[], ["same bytes as 1"]]
    assert sorted(conflict["suggested"]) == ["jagoi", "odissi"]
    assert tabs["conflicts"]["is_for_cluster"]

    removed, *asked = tabs["duplicates"]["sections"]
    assert (removed["kind"], ids[removed["keeper"]]) == ("Removed", "kathak/0")
    assert [ids[row] for row in removed["rows"]] == ["kathak/0", "kathak/near"]
    assert removed["notes"][0] == ["kept"]
    assert re.fullmatch(r"\d bits? from 1", removed["notes"][1][0])
    mirrored = {
        frozenset(ids[row] for row in section["rows"]): section["notes"][1]
        for section in asked
        if section["kind"] == "Possible mirror images"
    }
    assert mirrored[frozenset({"odissi/1", "odissi/mirrored"})] == ["mirrored, 0 bits from 1"]
    kinds = [section["kind"] for section in tabs["duplicates"]["sections"]]
    order = ["Removed", "Possible near-duplicates", "Possible mirror images"]
    assert kinds == sorted(kinds, key=order.index)

    (suspects,) = tabs["suspects"]["sections"]
    table = read_suspects(NAME).to_pylist()
    assert [ids[row] for row in suspects["rows"]] == [row["sample_id"] for row in table]
    assert suspects["suggested"] == [row["suggested"] for row in table]
    names = [LABELS[table[0][column]] for column in ("suggested", "label")]
    assert suspects["notes"][0][0] == f"predicted {names[0]}, 80% (labelled {names[1]}, 10%)"

    sections = tabs["all"]["sections"]
    assert [section["title"] for section in sections] == [LABELS[key] for key in sorted(LABELS)]
    rows = [row for section in sections for row in section["rows"]]
    assert sorted(rows) == list(range(len(ids)))


def test_rejects_have_a_reason_and_an_image_if_their_file_is_here(reader: Client) -> None:
    ids = reader.get("/index")["sample_id"]
    sections = {each["kind"]: each for each in reader.get("/tabs")["rejected"]["sections"]}
    near = sections["near-duplicate"]
    assert [ids[row] for row in near["rows"]] == ["kathak/near"]
    assert near["title"] == "near-duplicate (left out of the split)"
    assert near["notes"] == [["near-duplicate", "kathak/near"]]
    assert len(sections["label-conflict"]["rows"]) == 2
    (gone,) = sections["http-404"]["files"]
    assert sections["http-404"]["title"] == "http-404 (never became a sample)"
    assert gone["detail"] == "Not Found"
    assert (gone["query"], gone["engine"], gone["content_id"]) == ("kathak dance", "bing", None)
    assert gone["page_url"] == "https://photos.example/kathak/gone.jpg.html"

    (tiny,) = sections["too-small"]["files"]
    assert tiny["content_id"] == sha256(crawl_folder(NAME) / "kathak" / "images" / "tiny.jpg")
    for size in ("small", "whole"):
        answer = reader.http.get(f"/pictures/{size}/{tiny['content_id']}")
        assert answer.headers["content-type"] == "image/jpeg"
    (cut,) = sections["truncated"]["files"]
    answer = reader.http.get(f"/pictures/small/{cut['content_id']}")
    assert answer.headers["content-type"] == "image/svg+xml", "it exists and cannot be decoded"
    assert [each["content_id"] for each in sections["odd"]["files"]] == [None, None]


def test_a_tab_without_its_file_names_the_command(project: Callable[..., Path]) -> None:
    project()
    reviewed = ReviewedDataset("dances", WHO, TABS)
    commands = {
        "losses": "dvc repro evaluate@dances",
        "conflicts": "dvc repro dedupe@dances",
        "duplicates": "dvc repro dedupe@dances",
        "suspects": "kalai suspects dances",
        "rejected": "dvc repro",
        "all": "dvc repro",
    }
    assert commands_of(reviewed) == commands
    assert json.loads(reviewed.index())["sample_id"] == []
    assert reviewed.next_run().summary == "every stage (first run)"
    write("dances", [sample("one", "kathak")])
    assert commands_of(reviewed) == commands | {"all": None}
    assert json.loads(reviewed.index())["sample_id"] == ["kathak/one"], "the new file is read"
    assert reviewed.next_run().summary == "every stage (first run)"
    with served(make_page(["dances"], WHO)) as url:
        assert httpx.get(url).status_code == 200
        assert httpx.get(f"{url}/api/dances/state").json()["images"] == 0


def commands_of(reviewed: ReviewedDataset) -> dict[str, Any]:
    """Return the command that each tab shows, None if it shows images."""
    tabs = json.loads(reviewed.tabs())
    return {key: tab["empty"] and tab["empty"]["command"] for key, tab in tabs.items()}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("suspects.parquet", "suspects"),
        ("pairs.parquet", "duplicates"),
        ("rejected.csv", "rejected"),
    ],
)
def test_a_damaged_file_is_reported_on_its_tab_only(root: Path, name: str, key: str) -> None:
    (root / "data" / NAME / name).write_bytes(b"\xffnonsense")
    tabs = json.loads(ReviewedDataset(NAME, WHO, TABS).tabs())
    assert tabs[key]["empty"]["text"].startswith(f"data/{NAME}/{name}: file is damaged")
    assert tabs["losses"]["empty"] is None


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=20))
def test_groups_are_the_components_of_the_pairs(pairs: list[tuple[int, int]]) -> None:
    groups = groups_of(pairs)
    rows = [row for group in groups for row in group]
    assert sorted(rows) == sorted({row for pair in pairs for row in pair})
    group_of = {row: number for number, group in enumerate(groups) for row in group}
    assert all(group_of[a] == group_of[b] for a, b in pairs)
    for number, group in enumerate(groups):  # each group is one component
        reached = {group[0]}
        for _ in group:
            reached |= {other for a, b in pairs for other in (a, b) if {a, b} & reached}
        assert reached == set(group), number
