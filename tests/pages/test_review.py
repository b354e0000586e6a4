"""The review page's server: what each tab shows, what is decided, and who may ask for what."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import schemathesis
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis.specs.openapi.checks import positive_data_acceptance

from pipeline.dataset.decisions import (
    Decision,
    Verdict,
    append_decisions,
    now,
    read_decisions,
    verdicts,
)
from pipeline.dataset.paths import DATA, LOCK, dataset_folder, known_datasets, samples_path
from pipeline.pages.guard import TOKEN_HEADER
from pipeline.pages.local import LocalPage
from pipeline.pages.review.ahead import STAGES
from pipeline.pages.review.command import main
from pipeline.pages.review.dataset import Reviewed
from pipeline.pages.review.decided import Decided
from pipeline.pages.review.index import coded, column_of, host_of
from pipeline.pages.review.page import make_page
from pipeline.pages.review.pictures import SMALL, Pictures
from pipeline.pages.review.tabs import joined
from pipeline.split import stage as split
from tests.browsing import served
from tests.conftest import ROOT
from tests.reviewing import LABELS, NAME, QUERY, made, sha256, split_rows, stage
from tests.tables import sample, write

__all__ = ["made", "stage"]  # fixtures

WHO = "Anna <anna@example.org>"
PATH = Path("data") / NAME / "decisions.csv"


class Browser:
    """What a page's own script would ask."""

    def __init__(self, http: httpx.Client, page: LocalPage) -> None:
        self.http = http
        self.headers = {TOKEN_HEADER: page.token}

    def get(self, path: str) -> Any:
        answer = self.http.get(path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.http.post(path, json=body, headers=self.headers)

    def decide(self, *said: dict[str, str]) -> httpx.Response:
        return self.post("/decisions", {"decisions": list(said)})


@pytest.fixture
def browser(stage: Path) -> Iterator[Browser]:
    page = make_page([NAME], WHO)
    with (
        served(page) as url,
        httpx.Client(base_url=f"{url}/api/{NAME}", timeout=30) as http,
    ):
        yield Browser(http, page)


def say(content_id: str, action: str, label: str = "", reason: str = "") -> dict[str, str]:
    return {"content_id": content_id, "action": action, "label": label, "reason": reason}


def content_of(sample_id: str) -> str:
    rows = {row["sample_id"]: row["content_id"] for row in split_rows()}
    return rows[sample_id]


# ---- what is shown


def test_the_index_says_the_facts_in_columns_of_one_length(browser: Browser) -> None:
    index = browser.get("/index")
    count = len(index["sample_id"])
    assert [row["sample_id"] for row in split_rows()] == index["sample_id"]
    assert [each["label"] for each in index["classes"]] == sorted(LABELS)
    columns = index["columns"]
    for name, column in columns.items():
        assert len(column.get("codes", column.get("values"))) == count, name
    said = columns["part"]
    parts = [said["names"][code] for code in said["codes"]]
    assert parts == [row["part"] for row in split_rows()]
    assert columns["site"]["names"] == ["photos.example"]
    assert QUERY in columns["query"]["names"]
    assert "group" not in columns, "nobody wrote anything here"
    for name in ("predicted", "loss"):
        column = columns[name].get("codes", columns[name].get("values"))
        is_known = [value not in (None, -1) for value in column]
        assert is_known == [part in ("valid", "test") for part in parts]


def test_every_tab_shows_what_it_is_for(browser: Browser) -> None:
    index, tabs = browser.get("/index"), browser.get("/tabs")
    ids = index["sample_id"]
    assert all(tab["empty"] is None for tab in tabs.values())

    (section,) = tabs["losses"]["sections"]
    losses = [index["columns"]["loss"]["values"][row] for row in section["rows"]]
    assert losses == sorted(losses, reverse=True)
    held = [row for row in split_rows() if row["part"] in ("valid", "test")]
    assert len(losses) == len(held)

    (conflict,) = tabs["conflicts"]["sections"]
    assert {ids[row] for row in conflict["rows"]} == {"jagoi/3", "odissi/twice"}
    assert conflict["notes"] == ["", "same bytes as 1"]

    removed, *asked = tabs["duplicates"]["sections"]
    assert (removed["kind"], ids[removed["keeper"]]) == ("Removed", "kathak/0")
    assert [ids[row] for row in removed["rows"]] == ["kathak/0", "kathak/near"]
    assert removed["notes"][0] == "kept"
    assert re.fullmatch(r"\d bits?", removed["notes"][1])
    mirrored = {
        frozenset(ids[row] for row in section["rows"]): section["notes"][1]
        for section in asked
        if section["kind"] == "Perhaps mirrored"
    }
    assert mirrored[frozenset({"odissi/1", "odissi/mirrored"})] == "0 bits mirrored from 1"
    kinds = [section["kind"] for section in tabs["duplicates"]["sections"]]
    assert kinds == sorted(kinds, key=["Removed", "Perhaps the same", "Perhaps mirrored"].index)

    (suspects,) = tabs["suspects"]["sections"]
    table = pq.read_table(dataset_folder(NAME) / "suspects.parquet").to_pylist()
    assert [ids[row] for row in suspects["rows"]] == [row["sample_id"] for row in table]
    assert suspects["suggested"] == [row["suggested"] for row in table]
    assert suspects["notes"][0] == "80%, its label 10%"


def test_what_was_rejected_says_why_with_the_picture_where_there_is_one(browser: Browser) -> None:
    ids = browser.get("/index")["sample_id"]
    sections = {each["kind"]: each for each in browser.get("/tabs")["rejected"]["sections"]}
    assert [ids[row] for row in sections["near-duplicate"]["rows"]] == ["kathak/near"]
    assert len(sections["label-conflict"]["rows"]) == 2
    (gone,) = sections["http-404"]["refused"]
    assert gone["detail"] == "Not Found"
    assert (gone["query"], gone["engine"], gone["content_id"]) == ("kathak dance", "bing", None)
    assert gone["page_url"] == "https://photos.example/kathak/gone.jpg.html"

    folder = dataset_folder(NAME) / "crawl" / "kathak" / "images"
    (tiny,) = sections["too-small"]["refused"]
    assert tiny["content_id"] == sha256(folder / "tiny.jpg")
    for size in ("small", "whole"):
        answer = browser.http.get(f"/pictures/{size}/{tiny['content_id']}")
        assert answer.headers["content-type"] == "image/jpeg"
    (cut,) = sections["truncated"]["refused"]
    answer = browser.http.get(f"/pictures/small/{cut['content_id']}")
    assert answer.headers["content-type"] == "image/svg+xml", "it is there and cannot be shown"
    assert [each["content_id"] for each in sections["odd"]["refused"]] == [None, None]


def test_a_dataset_that_lacks_a_file_says_what_to_run(project: Callable[..., Path]) -> None:
    project()
    reviewed = Reviewed("dances", WHO)
    for path in ("none yet", "samples alone"):
        tabs = json.loads(reviewed.tabs())
        runs = {name: tab["empty"]["run"] for name, tab in tabs.items()}
        assert runs == {
            "losses": "dvc repro evaluate@dances",
            "conflicts": "dvc repro dedupe@dances",
            "duplicates": "dvc repro dedupe@dances",
            "suspects": "kalai suspects dances",
            "rejected": "dvc repro",
        }, path
        index = json.loads(reviewed.index())
        assert reviewed.ahead().says == "all stages, nothing has run yet"
        if path == "none yet":
            assert index["sample_id"] == []
            write("dances", [sample("one", "kathak")])
    assert index["sample_id"] == ["kathak/one"], "the file that came is seen"
    page = make_page(["dances"], WHO)
    with served(page) as url:
        assert httpx.get(url).status_code == 200
        assert httpx.get(f"{url}/api/dances/state").json()["pictures"] == 0


@pytest.mark.parametrize(
    ("name", "tab"),
    [
        ("suspects.parquet", "suspects"),
        ("pairs.parquet", "duplicates"),
        ("rejected.csv", "rejected"),
    ],
)
def test_a_damaged_file_is_said_on_its_tab_alone(stage: Path, name: str, tab: str) -> None:
    (stage / "data" / NAME / name).write_bytes(b"\xffnonsense")
    tabs = json.loads(Reviewed(NAME, WHO).tabs())
    assert tabs[tab]["empty"]["says"].startswith("Cannot be read: data/stage/")
    assert tabs["losses"]["empty"] is None


def test_data_made_anew_are_read_anew(browser: Browser, stage: Path) -> None:
    before, version = browser.get("/index"), browser.get("/state")["data"]
    assert before["data"] == version
    write(NAME, [sample("one", "kathak")])
    assert browser.get("/state")["data"] != version
    assert browser.get("/index")["sample_id"] == ["kathak/one"]
    assert browser.get("/tabs")["losses"]["sections"] == [], "predictions of samples that are gone"


def test_the_facts_of_a_picture_are_all_of_its_samples(browser: Browser) -> None:
    content = content_of("jagoi/3")
    browser.decide(say(content, "relabel", "odissi", "-1 @home"))
    facts = browser.get(f"/facts/{content}")
    assert {each["sample_id"] for each in facts["samples"]} == {"jagoi/3", "odissi/twice"}
    assert facts["samples"][0]["creator"] == "Meera =SUM(1)"
    assert "image" not in facts["samples"][0]
    (line,) = facts["history"]
    assert (line["action"], line["label"], line["who"]) == ("relabel", "odissi", WHO)
    assert line["reason"] == "'-1 @home", "no spreadsheet will calculate it"
    held = next(row for row in split_rows() if row["part"] == "test")
    assert len(browser.get(f"/facts/{held['content_id']}")["predicted"]["top3"]) == 3


@given(st.lists(st.none() | st.text(max_size=3), max_size=20))
def test_codes_are_places_in_sorted_names(values: list[str | None]) -> None:
    column = coded(pa.array(values, pa.string()))
    assert column["names"] == sorted({value for value in values if value is not None})
    back = [None if code < 0 else column["names"][code] for code in column["codes"]]
    assert back == values


def test_numbers_stay_numbers_and_a_host_is_what_a_url_has() -> None:
    assert column_of(pa.array([1, None], pa.int32())) == {"values": [1, None]}
    assert column_of(pa.array([0.123456789], pa.float32())) == {"values": [0.12346]}
    assert host_of("https://User@Photos.Example:8/x") == "photos.example"
    assert host_of("http://[broken") is None
    assert host_of("nothing") is None


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=20))
def test_groups_are_what_pairs_join(pairs: list[tuple[int, int]]) -> None:
    groups = joined(pairs)
    seen = [row for group in groups for row in group]
    assert sorted(seen) == sorted({row for pair in pairs for row in pair})
    place = {row: number for number, group in enumerate(groups) for row in group}
    assert all(place[a] == place[b] for a, b in pairs)
    for number, group in enumerate(groups):  # and nothing else is: each is one component
        reached = {group[0]}
        for _ in group:
            reached |= {other for a, b in pairs for other in (a, b) if {a, b} & reached}
        assert reached == set(group), number


# ---- pictures


def test_a_picture_is_what_is_stored_or_small_and_kept_for_ever(browser: Browser) -> None:
    stored = pq.read_table(samples_path(NAME)).to_pylist()[0]
    content = stored["content_id"]
    whole = browser.http.get(f"/pictures/whole/{content}?of=x")
    assert whole.content == stored["image"]["bytes"]
    small = browser.http.get(f"/pictures/small/{content}")
    assert max(Image.open(io.BytesIO(small.content)).size) <= SMALL
    for answer in (whole, small):
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert browser.http.get(f"/pictures/small/{content}").content == small.content


def test_memory_is_bounded_and_small_pictures_are_kept(stage: Path) -> None:
    table = pq.read_table(samples_path(NAME))
    pq.write_table(table, samples_path(NAME), row_group_size=5)
    pictures = Pictures(samples_path(NAME), budget=1)
    contents = table["content_id"].to_pylist()
    stored = [image["bytes"] for image in table["image"].to_pylist()]
    first = dict(reversed(list(zip(contents, stored, strict=True))))
    for content in [*contents, *reversed(contents)]:
        assert pictures.whole(content) == first[content]
        assert len(pictures._groups) == 1
    roomy = Pictures(samples_path(NAME))
    small = {content: roomy.small(content) for content in contents[:7]}
    assert len(roomy._groups) == 2
    roomy.make_all_small()
    again = Pictures(samples_path(NAME))
    assert [again.small(content) for content in contents[:7]] == list(small.values())
    assert all(again.small(content) for content in contents)
    assert not again._groups, "all were kept on the disk"
    assert again.whole("0" * 64) is again.small("0" * 64) is None


@pytest.mark.parametrize("what", ["damaged", "a folder"])
def test_small_pictures_are_made_though_none_can_be_kept(stage: Path, what: str) -> None:
    kept = dataset_folder(NAME) / "cache" / "thumbnails.sqlite"
    if what == "damaged":
        kept.write_bytes(b"no database at all" * 100)
    else:
        kept.mkdir()
    pictures = Pictures(samples_path(NAME))
    content = content_of("kathak/0")
    assert pictures.small(content) == pictures.small(content)
    pictures.make_all_small()


def test_what_is_no_picture_is_shown_as_such(stage: Path, browser: Browser) -> None:
    page = b"<html><script>alert(1)</script>"
    row = sample("page", "kathak", image={"bytes": page, "path": "page.png"})
    write(NAME, [row])
    small = browser.http.get(f"/pictures/small/{row['content_id']}")
    assert small.headers["content-type"] == "image/svg+xml"
    whole = browser.http.get(f"/pictures/whole/{row['content_id']}")
    assert whole.status_code == 422
    assert b"script" not in small.content + whole.content


# ---- what is decided


def test_a_decision_is_on_the_disk_before_the_answer(browser: Browser) -> None:
    one, other = content_of("kathak/1"), content_of("jagoi/1")
    answer = browser.decide(say(one, "delete", reason="poster"), say(other, "relabel", "odissi"))
    assert answer.status_code == 200, answer.text
    found = read_decisions(PATH)
    assert [(each.content_id, each.action, each.label, each.reason) for each in found] == [
        (one, "delete", "", "poster"),
        (other, "relabel", "odissi", ""),
    ]
    assert {each.who for each in found} == {WHO}
    state = answer.json()
    assert state["verdicts"] == {one: [None, "delete"], other: ["odissi", None]}
    assert state["by_action"] == {"delete": 1, "relabel": 1}
    assert state["last"]["says"] == "delete 1, relabel 1"
    for action in ("keep", "not-duplicate", "keeper"):
        assert browser.decide(say(one, action)).json()["verdicts"][one] == [None, action]
    assert browser.decide(say(one, "undo")).json()["verdicts"][one] == [None, "not-duplicate"]


def test_a_step_is_undone_as_a_whole_and_only_as_it_was_seen(browser: Browser) -> None:
    one, other = content_of("kathak/1"), content_of("jagoi/1")
    browser.decide(say(one, "delete"), say(other, "delete"))
    version = browser.decide(say(one, "keep")).json()["version"]
    append_decisions(PATH, [Decision(now(), other, "keeper", who="another program")])
    stale = browser.post("/undo", {"version": version})
    assert stale.status_code == 409
    assert stale.json() == {"error": "somebody has just decided: look again"}
    steps = []
    for _ in range(3):
        version = browser.get("/state")["version"]
        state = browser.post("/undo", {"version": version}).json()
        steps.append(dict(sorted(state["by_action"].items())))
    assert steps == [{"delete": 1, "keep": 1}, {"delete": 2}, {}]
    nothing = browser.post("/undo", {"version": browser.get("/state")["version"]})
    assert nothing.status_code == 422


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (say("0" * 64, "keep"), "no picture 000000000000 in this dataset"),
        (say("../../../secret.jpg", "keep"), "body.decisions.1.content_id: String should match"),
        (say("KATHAK", "delet"), "body.decisions.1.action: Input should be 'keep'"),
        (say("KATHAK", "relabel", "emu"), "no such class in this dataset"),
        (say("KATHAK", "relabel"), "relabel with no label; relabel alone has one"),
        (say("KATHAK", "keep", "odissi"), "keep with label 'odissi'"),
        (say("KATHAK", "undo"), "undo, but nothing stands about"),
        (say("KATHAK", "keep", reason="x" * 501), "reason of 501 characters"),
        (say("KATHAK", "keep") | {"who": "Ben"}, "body.decisions.1.who: Extra inputs"),
        (say("KATHAK", "keep") | {"reason": 5}, "body.decisions.1.reason: Input should be a valid"),
    ],
)
def test_all_of_a_step_is_taken_or_nothing(
    browser: Browser, said: dict[str, str], error: str
) -> None:
    if said["content_id"] == "KATHAK":
        said = said | {"content_id": content_of("kathak/1")}
    before = PATH.read_bytes()
    answer = browser.decide(say(content_of("kathak/2"), "keep"), said)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(error)
    assert PATH.read_bytes() == before


def test_a_damaged_file_of_decisions_is_one_line_and_stays_as_it_is(browser: Browser) -> None:
    PATH.write_text("nonsense\n")
    for answer in (browser.http.get("/state"), browser.decide(say(content_of("kathak/1"), "keep"))):
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(f"{PATH}:1: expected the header")
    assert PATH.read_text() == "nonsense\n"


def test_tabs_that_decide_at_once_lose_nothing(browser: Browser) -> None:
    contents = [content_of(f"kathak/{number}") for number in range(8)]

    def decide_all(action: str) -> None:
        for content in contents:
            assert browser.decide(say(content, action)).status_code == 200

    tabs = [threading.Thread(target=decide_all, args=[action]) for action in ("keep", "delete")]
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join()
    found = [(each.action, each.content_id) for each in read_decisions(PATH)]
    assert len(found) == 16
    for action in ("keep", "delete"):
        assert [content for name, content in found if name == action] == contents


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["keep", "delete", "keeper", "back", "look", "elsewhere", "checkout"]),
        st.integers(0, 3),
        st.booleans(),  # whether the other tab does it
    ),
    max_size=14,
)


@given(MOVES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_tab_comes_to_know_what_stands(
    tmp_path: Path, moves: list[tuple[str, int, bool]]
) -> None:
    path = tmp_path / "decisions.csv"
    path.unlink(missing_ok=True)
    decided = Decided(path, WHO)
    tabs = [_Follower(decided), _Follower(decided)]
    for move, number, is_other in moves:
        tab, content = tabs[is_other], f"{number:064x}"
        if move == "elsewhere":  # another program
            append_decisions(path, [Decision(now(), content, "not-duplicate")])
        elif move == "checkout":  # git put an older file in its place
            path.unlink(missing_ok=True)
            append_decisions(path, [Decision(now(), content, "keep", who="git")])
        elif move == "back":
            tab.look()
            if decided.known().steps:
                decided.take_back(tab.version)
        elif move != "look":
            decided.add([(content, move, "", "")])
        tab.look()
        assert tab.stands == verdicts(read_decisions(path))
    for tab in tabs:
        tab.look()
        assert tab.stands == verdicts(read_decisions(path))


class _Follower:
    """A tab: it knows what it was told, and asks for what is new."""

    def __init__(self, decided: Decided) -> None:
        self.decided = decided
        self.version: str = ""
        self.told: dict[str, list[str | None]] = {}

    def look(self) -> None:
        state = self.decided.since(self.version or None)
        self.version = state["version"]
        if state["is_whole"]:
            self.told = {}
        for content, verdict in state["verdicts"].items():
            self.told.pop(content, None)
            if verdict != [None, None]:
                self.told[content] = verdict

    @property
    def stands(self) -> dict[str, Any]:
        return {content: Verdict(*verdict) for content, verdict in self.told.items()}


def test_what_was_answered_survives_kill_9(stage: Path) -> None:
    command = "from pipeline.pages.review.command import main; main()"
    run = [sys.executable, "-c", command, NAME, "--port", "0", "--no-browser"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    contents = [content_of(f"kathak/{number}") for number in range(5)]
    with subprocess.Popen(run, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        said = server.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+", said)
        assert url is not None, said
        page = httpx.get(url[0], timeout=30).text
        token = re.search(r'name="kalai-token" content="([^"]+)"', page)
        assert token is not None
        for content in contents:
            answer = httpx.post(
                f"{url[0]}/api/{NAME}/decisions",
                json={"decisions": [say(content, "delete")]},
                headers={TOKEN_HEADER: token[1]},
                timeout=30,
            )
            assert answer.status_code == 200
        server.send_signal(signal.SIGKILL)
        server.wait(30)
    assert [each.content_id for each in read_decisions(PATH)] == contents
    append_decisions(PATH, [Decision(now(), contents[0], "undo")])  # nobody holds it any more


# ---- what the next dvc repro will do


def lock() -> None:
    """Write dvc.lock as DVC does after a run of the three stages on what is here."""
    folder = dataset_folder(NAME)
    deps = {"split": ["decisions.csv"], "train": ["split.csv"], "evaluate": ["split.csv"]}
    values = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    stages: dict[str, Any] = {}
    for name in STAGES:
        found = []
        for file in deps[name]:
            data = (folder / file).read_bytes()
            digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
            found.append({"path": str(folder / file), "md5": digest, "size": len(data)})
        found.append({"path": str(folder), "md5": "0.dir", "size": 1})  # a folder: not looked into
        params = {f"split.{NAME}": values["split"][NAME]} if name == "split" else {}
        stages[f"{name}@{NAME}"] = {"deps": found, "params": {"params.yaml": params}}
    LOCK.write_text(yaml.safe_dump({"stages": stages}), encoding="utf-8")


def test_what_dvc_repro_will_do_is_said(browser: Browser) -> None:
    assert browser.get("/next")["stages"] == list(STAGES), "nothing is known of a run before"
    lock()
    assert browser.get("/next")["says"] == "nothing, the split has all decisions"
    by_part = {row["part"]: row["content_id"] for row in split_rows()}
    browser.decide(*(say(by_part[part], "delete") for part in ("train", "valid", "test")))
    ahead = browser.get("/next")
    assert ahead["stages"] == list(STAGES)
    assert ahead["changes"][0] == "3 go out (test 1, train 1, valid 1)"
    assert ahead["touching"] == {"train": 1, "valid": 1, "test": 1}

    assert CliRunner().invoke(split.main, [NAME]).exit_code == 0
    ahead = browser.get("/next")
    assert ahead["stages"] == list(STAGES), "train has not run since"
    assert ahead["touching"] == {"train": 1, "valid": 1, "test": 1}, "where they would be"
    report = json.loads((dataset_folder(NAME) / "reports" / "split.json").read_text())
    assert report["decisions"]["touching"] == ahead["touching"]
    lock()
    assert browser.get("/next")["stages"] == []
    browser.decide(say(by_part["train"], "keep"))
    assert browser.get("/next")["changes"][0] == "1 come in (train 1)"
    browser.post("/undo", {"version": browser.get("/state")["version"]})
    assert browser.get("/next")["says"] == "split, with the same result: nothing is trained again"


def test_other_reasons_to_run_and_to_stop_are_seen(browser: Browser) -> None:
    lock()
    values = Path("params.yaml").read_text(encoding="utf-8")
    Path("params.yaml").write_text(values.replace("remove_within: 4", "remove_within: 3"))
    assert browser.get("/next")["stages"] == [], "no value of these stages"
    kathak = [row["content_id"] for row in split_rows() if row["label"] == "kathak"]
    browser.decide(*(say(content, "delete") for content in kathak[:-1]))
    ahead = browser.get("/next")
    assert ahead["stages"] == ["split"]
    assert "kathak" in ahead["problem"]
    browser.decide(say(kathak[0], "relabel", "odissi"))
    assert "kathak" in browser.get("/next")["problem"]
    LOCK.write_text("stages: [", encoding="utf-8")
    browser.post("/undo", {"version": browser.get("/state")["version"]})
    browser.post("/undo", {"version": browser.get("/state")["version"]})
    answer = browser.http.get("/next")
    assert (answer.status_code, answer.json()) == (400, {"error": "dvc.lock: not YAML"})


# ---- who may ask for what


@pytest.mark.parametrize(
    "path",
    [
        "/pictures/whole/../../../../../../etc/passwd",
        "/pictures/whole/..%2f..%2f..%2fsecret.jpg",
        "/pictures/whole/%2fetc%2fpasswd",
        "/pictures/whole/" + "0" * 63,
        "/pictures/whole/" + "0" * 64,
        "/pictures/whole/" + "A" * 64,
        "/pictures/whole/" + "0" * 63 + "%0a",
        "/pictures/whole/" + "0" * 64 + "%00.jpg",
        "/pictures/huge/" + "0" * 64,
        "/facts/..%5c..%5csecret.jpg",
        "/facts/" + "f" * 64,
        "/../dances/index",
        "/../..%2fsecret/index",
        "/../../static/page/../page.py",
        "/../../static/page/%2e%2e/command.py",
        "/../../review/nosuch",
    ],
)
def test_no_path_leads_to_a_file(browser: Browser, path: str) -> None:
    browser.get("/tabs")  # what may be shown is known by now
    url = f"{browser.http.base_url}".rstrip("/") + path
    for name in (url, url + "?of=../../x"):
        answer = httpx.get(name)
        assert answer.status_code in (404, 422), path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "root:" not in answer.text


def test_the_picture_of_a_link_or_a_way_out_is_not_shown(browser: Browser) -> None:
    browser.get("/tabs")
    secret = sha256("secret.jpg")
    assert browser.http.get(f"/pictures/whole/{secret}").status_code == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({TOKEN_HEADER: ""}, 403),
        ({TOKEN_HEADER: "guessed"}, 403),
        ({"Host": "rebound.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
def test_a_change_from_elsewhere_is_refused(
    browser: Browser, headers: dict[str, str], status: int
) -> None:
    body = json.dumps({"decisions": [say(content_of("kathak/1"), "delete")]}).encode()
    kind = {"Content-Type": "application/json"}
    for path in ("/decisions", "/undo"):
        sent = browser.headers | kind | headers
        answer = browser.http.post(path, content=body, headers=sent)
        assert answer.status_code == status, answer.text
        assert list(answer.json()) == ["error"]
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        answer = browser.http.request(method, "/decisions", content=body, headers=kind)
        assert answer.status_code in (403, 405)
    assert read_decisions(PATH) == []


def test_a_body_that_is_too_long_is_not_read(browser: Browser) -> None:
    base = browser.http.base_url
    head = [
        f"POST {base.path}decisions HTTP/1.1",
        f"Host: {base.netloc.decode()}",
        f"{TOKEN_HEADER}: {browser.headers[TOKEN_HEADER]}",
        "Content-Type: application/json",
        "Content-Length: 99999999999",
    ]
    with socket.create_connection((base.host, base.port or 0), timeout=30) as asked:
        asked.sendall("\r\n".join([*head, "", ""]).encode())
        assert asked.recv(100).startswith(b"HTTP/1.1 413 ")


def test_names_from_outside_are_text_in_the_page(browser: Browser) -> None:
    page = browser.http.get("http://" + browser.http.base_url.netloc.decode() + f"/review/{NAME}")
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert not re.search(r"\son\w+=|style=|<script>|<style", page.text), "nothing inline"
    assert "https://" not in page.text, "nothing from elsewhere"
    assert "'unsafe" not in page.headers["content-security-policy"]


def test_it_answers_all_that_its_document_allows_and_refuses_the_rest(browser: Browser) -> None:
    """A valid body may name pictures that are not here, so 422 is right for it as well."""
    origin = "http://" + browser.http.base_url.netloc.decode()
    schema = schemathesis.openapi.from_url(f"{origin}/openapi.json")

    @given(case=schema.as_strategy())
    @settings(
        max_examples=120,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def agrees(case: schemathesis.Case[Any]) -> None:
        excluded: list[Any] = [positive_data_acceptance]
        case.call_and_validate(headers=browser.headers, excluded_checks=excluded)

    agrees()
    assert read_decisions(PATH) == [], "no guess was of a picture"


# ---- the command


def test_a_wrong_name_or_place_is_one_line(
    project: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project()
    result = CliRunner().invoke(main, ["emus"])
    assert result.stderr == "error: no dataset 'emus'; there are: dances, tamil\n"
    assert known_datasets(DATA) == ["dances", "tamil"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = CliRunner().invoke(main, [])
    assert result.stderr.startswith("error: data: no dataset has a decisions.csv")
