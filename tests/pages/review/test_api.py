"""The review API: facts about an image, new data, and requests that are refused."""

from __future__ import annotations

import json
import re
import socket
from typing import Any, get_args

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance

from pipeline.dataset.decisions import ACTIONS as DECISION_ACTIONS
from pipeline.dataset.decisions import read_decisions
from pipeline.dataset.paths import decisions_path
from pipeline.pages.request_guard import TOKEN_HEADER
from pipeline.pages.review.actions import ACTIONS, SUGGESTED
from pipeline.pages.review.api import Action
from tests.reviewing import NAME, WHO, Client, content_of, decision, held_out, sha256
from tests.tables import sample, write


def test_the_actions_are_those_of_decisions() -> None:
    assert get_args(Action) == DECISION_ACTIONS
    assert {action.action for action in ACTIONS} - {SUGGESTED} == set(DECISION_ACTIONS)
    assert len({action.key for action in ACTIONS}) == len(ACTIONS)
    taken = {"J", "O", "U", "W"}  # keys that page.js gives another meaning
    assert not taken & {action.key for action in ACTIONS}


def test_new_data_are_read(client: Client) -> None:
    before, version = client.get("/index"), client.get("/state")["data"]
    assert before["data"] == version
    write(NAME, [sample("one", "kathak")])
    assert client.get("/state")["data"] != version
    assert client.get("/index")["sample_id"] == ["kathak/one"]
    assert client.get("/tabs")["losses"]["sections"] == [], "their samples are gone"


def test_the_facts_of_an_image_are_those_of_all_its_samples(client: Client) -> None:
    content_id = content_of("jagoi/3")
    client.decide(decision(content_id, "relabel", "odissi", "-1 @home"))
    facts = client.get(f"/facts/{content_id}")
    assert {each["sample_id"] for each in facts["samples"]} == {"jagoi/3", "odissi/twice"}
    assert facts["samples"][0]["creator"] == "Meera =SUM(1)"
    assert "image" not in facts["samples"][0]
    (line,) = facts["history"]
    assert (line["action"], line["label"], line["who"]) == ("relabel", "odissi", WHO)
    assert line["reason"] == "'-1 @home", "no spreadsheet will compute it"
    held = next(row for row in held_out() if row.part == "test")
    assert len(client.get(f"/facts/{held.content_id}")["predicted"]["top3"]) == 3


# refused requests


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
        "/../../static/page/../app.py",
        "/../../static/page/%2e%2e/command.py",
        "/../../review/nosuch",
    ],
)
def test_no_path_leads_to_a_file(reader: Client, path: str) -> None:
    reader.get("/tabs")  # from now on, rejected files may be shown
    url = f"{reader.http.base_url}".rstrip("/") + path
    for name in (url, url + "?of=../../x"):
        answer = httpx.get(name)
        assert answer.status_code in (404, 422), path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "root:" not in answer.text


def test_a_file_behind_a_link_or_outside_the_folder_is_not_shown(reader: Client) -> None:
    reader.get("/tabs")
    secret = sha256("secret.jpg")
    assert reader.http.get(f"/pictures/whole/{secret}").status_code == 404


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
def test_a_change_from_another_page_is_refused(
    reader: Client, headers: dict[str, str], status: int
) -> None:
    body = json.dumps({"decisions": [decision(content_of("kathak/1"), "delete")]}).encode()
    kind = {"Content-Type": "application/json"}
    for path in ("/decisions", "/undo"):
        answer = reader.http.post(path, content=body, headers=reader.headers | kind | headers)
        assert answer.status_code == status, answer.text
        assert list(answer.json()) == ["error"]
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        answer = reader.http.request(method, "/decisions", content=body, headers=kind)
        assert answer.status_code in (403, 405)
    assert read_decisions(decisions_path(NAME)) == []


def test_a_body_that_is_too_long_is_not_read(reader: Client) -> None:
    base = reader.http.base_url
    head = [
        f"POST {base.path}decisions HTTP/1.1",
        f"Host: {base.netloc.decode()}",
        f"{TOKEN_HEADER}: {reader.headers[TOKEN_HEADER]}",
        "Content-Type: application/json",
        "Content-Length: 99999999999",
    ]
    with socket.create_connection((base.host, base.port or 0), timeout=30) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_the_page_holds_no_foreign_or_inline_code(reader: Client) -> None:
    page = reader.http.get(f"{reader.origin}/review/{NAME}")
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert not re.search(r"\son\w+=|style=|<script>|<style", page.text), "nothing inline"
    assert "https://" not in page.text, "nothing from other hosts"
    assert "'unsafe" not in page.headers["content-security-policy"]


@pytest.mark.slow
def test_every_answer_agrees_with_the_openapi_document(reader: Client) -> None:
    """A valid body may name an unknown image, so 422 is a right answer to it, too."""
    schema = schemathesis.openapi.from_url(f"{reader.origin}/openapi.json")

    @given(case=schema.as_strategy())
    @settings(
        max_examples=120,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def agrees(case: schemathesis.Case[Any]) -> None:
        excluded: list[Any] = [positive_data_acceptance]
        case.call_and_validate(headers=reader.headers, excluded_checks=excluded)

    agrees()
    assert read_decisions(decisions_path(NAME)) == [], "no generated id is that of an image"
