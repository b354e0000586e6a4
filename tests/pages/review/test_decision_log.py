"""Decisions: they are on the disk before the answer, whole steps at a time, for every tab."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.dataset.decisions import (
    Decision,
    Verdict,
    append_decisions,
    now,
    read_decisions,
    verdicts,
)
from pipeline.dataset.paths import decisions_path
from pipeline.pages.review.decision_log import DecisionLog
from tests.reviewing import NAME, WHO, Client, content_of, decision

PATH = decisions_path(NAME)


def test_a_decision_is_on_the_disk_before_the_answer(client: Client) -> None:
    one, other = content_of("kathak/1"), content_of("jagoi/1")
    answer = client.decide(
        decision(one, "delete", reason="poster"), decision(other, "relabel", "odissi")
    )
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
    assert state["last"]["summary"] == "delete 1, relabel 1"
    for action in ("keep", "not-duplicate", "keeper"):
        assert client.decide(decision(one, action)).json()["verdicts"][one] == [None, action]
    undone = client.decide(decision(one, "undo")).json()
    assert undone["verdicts"][one] == [None, "not-duplicate"]


def test_a_step_is_undone_as_a_whole_and_only_if_nothing_is_newer(client: Client) -> None:
    one, other = content_of("kathak/1"), content_of("jagoi/1")
    client.decide(decision(one, "delete"), decision(other, "delete"))
    version = client.decide(decision(one, "keep")).json()["version"]
    append_decisions(PATH, [Decision(now(), other, "keeper", who="another program")])
    stale = client.post("/undo", {"version": version})
    assert stale.status_code == 409
    assert stale.json() == {"error": "there are newer decisions; check them, then undo again"}
    steps = []
    for _ in range(3):
        version = client.get("/state")["version"]
        state = client.post("/undo", {"version": version}).json()
        steps.append(dict(sorted(state["by_action"].items())))
    assert steps == [{"delete": 1, "keep": 1}, {"delete": 2}, {}]
    nothing = client.post("/undo", {"version": client.get("/state")["version"]})
    assert nothing.status_code == 422
    assert nothing.json() == {"error": "there is nothing to undo"}


INVALID: list[tuple[dict[str, Any], str]] = [
    (decision("0" * 64, "keep"), "no image 000000000000 in this dataset"),
    (decision("../../../secret.jpg", "keep"), "body.decisions.1.content_id: String should match"),
    (decision("KATHAK", "delet"), "body.decisions.1.action: Input should be 'keep'"),
    (
        decision("KATHAK", "relabel", "emu"),
        "unknown label; this dataset has: jagoi, kathak, odissi",
    ),
    (decision("KATHAK", "relabel"), "action relabel needs a label"),
    (decision("KATHAK", "keep", "odissi"), "action keep takes no label, found 'odissi'"),
    (decision("KATHAK", "undo"), "undo: image "),
    (decision("KATHAK", "keep", reason="x" * 501), "reason has 501 characters"),
    (decision("KATHAK", "keep") | {"who": "Ben"}, "body.decisions.1.who: Extra inputs"),
    (
        decision("KATHAK", "keep") | {"reason": 5},
        "body.decisions.1.reason: Input should be a valid",
    ),
]


def test_a_step_with_one_invalid_decision_writes_nothing(client: Client) -> None:
    before = PATH.read_bytes()
    for invalid, error in INVALID:
        known = {"content_id": content_of("kathak/1")} if invalid["content_id"] == "KATHAK" else {}
        answer = client.decide(decision(content_of("kathak/2"), "keep"), invalid | known)
        assert answer.status_code == 422, error
        assert answer.json()["error"].startswith(error)
        assert PATH.read_bytes() == before, error


def test_a_damaged_file_is_reported_and_left_as_it_is(client: Client) -> None:
    PATH.write_text("nonsense\n")
    content_id = content_of("kathak/1")
    for answer in (client.http.get("/state"), client.decide(decision(content_id, "keep"))):
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(f"{PATH}:1: expected the header")
    assert PATH.read_text() == "nonsense\n"


def test_tabs_that_decide_at_the_same_time_lose_nothing(client: Client) -> None:
    content_ids = [content_of(f"kathak/{number}") for number in range(8)]

    def decide_all(action: str) -> None:
        for content_id in content_ids:
            assert client.decide(decision(content_id, action)).status_code == 200

    tabs = [threading.Thread(target=decide_all, args=[action]) for action in ("keep", "delete")]
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join()
    found = [(each.action, each.content_id) for each in read_decisions(PATH)]
    assert len(found) == 16
    for action in ("keep", "delete"):
        assert [content_id for name, content_id in found if name == action] == content_ids


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["keep", "delete", "keeper", "undo", "update", "program", "checkout"]),
        st.integers(0, 3),
        st.booleans(),  # which of the two tabs
    ),
    max_size=14,
)


@given(MOVES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_tab_learns_what_stands(tmp_path: Path, moves: list[tuple[str, int, bool]]) -> None:
    path = tmp_path / "decisions.csv"
    path.unlink(missing_ok=True)
    log = DecisionLog(path, WHO)
    tabs = [FollowingTab(log), FollowingTab(log)]
    for move, number, is_other in moves:
        tab, content_id = tabs[is_other], f"{number:064x}"
        if move == "program":  # another program decides
            append_decisions(path, [Decision(now(), content_id, "not-duplicate")])
        elif move == "checkout":  # git restores another file
            path.unlink(missing_ok=True)
            append_decisions(path, [Decision(now(), content_id, "keep", who="git")])
        elif move == "undo":
            tab.update()
            if log.state().steps:
                log.undo_last(tab.version)
        elif move != "update":
            log.add([(content_id, move, "", "")])
        tab.update()
        assert tab.verdicts == verdicts(read_decisions(path))
    for tab in tabs:
        tab.update()
        assert tab.verdicts == verdicts(read_decisions(path))


class FollowingTab:
    """A browser tab: it knows the verdicts of its last request, and asks for what is newer."""

    def __init__(self, log: DecisionLog) -> None:
        self.log = log
        self.version = ""
        self.known: dict[str, list[str | None]] = {}

    def update(self) -> None:
        state = self.log.changes_since(self.version or None)
        self.version = state["version"]
        if state["is_whole"]:
            self.known = {}
        for content_id, verdict in state["verdicts"].items():
            self.known.pop(content_id, None)
            if verdict != [None, None]:
                self.known[content_id] = verdict

    @property
    def verdicts(self) -> dict[str, Any]:
        return {content_id: Verdict(*verdict) for content_id, verdict in self.known.items()}
