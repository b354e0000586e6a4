"""The ledger: lines are complete, one process writes, and the latest attempt at a URL counts."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import PipelineError
from pipeline.dataset.ledger import Attempt, Ledger, provenance, read_ledger
from tests.conftest import ROOT


def attempt(url: str, data: bytes | None = None, **more: Any) -> Attempt:
    values: dict[str, Any] = {"dance": "kathak", "engine": "bing", "query": "q", "rank": 1}
    if data is not None:
        values |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        values |= {"format": "JPEG", "outcome": "stored"}
    return Attempt(**(values | {"source_url": url} | more))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "kathak") as opened:
        yield opened


def always(_: Attempt) -> bool:
    return True


def test_an_image_is_stored_with_its_line(ledger: Ledger) -> None:
    assert ledger.add(attempt("u1", b"one"), b"one")
    assert not ledger.add(attempt("u2", b"one"), b"one")
    assert not ledger.add(attempt("u3", reason="http-404"))
    (path,) = ledger.images.iterdir()
    assert path.name == hashlib.sha256(b"one").hexdigest() + ".jpg"
    assert [line.outcome for line in read_ledger(ledger.path)] == ["stored", "duplicate", "refused"]
    assert all(ledger.is_settled(url, always) for url in ("u1", "u2", "u3"))
    assert not ledger.is_settled("u4", always)
    assert not ledger.is_settled("u3", lambda _: False), "the current rules may allow it"


def test_a_later_run_reads_the_same_state(tmp_path: Path) -> None:
    with Ledger(tmp_path) as ledger:
        for number in range(3):
            data = bytes([number])
            ledger.add(attempt(f"u{number}", data, creator="கலை"), data)
        report, stored = ledger.report(5), ledger.stored
    with Ledger(tmp_path) as again:
        assert (again.report(5), again.stored) == (report, stored)
        assert {one.creator for one in again.stored.values()} == {"கலை"}


def test_the_latest_attempt_counts(ledger: Ledger) -> None:
    ledger.add(attempt("u", reason="timeout"))
    assert not ledger.is_settled("u", always), "a timeout may be temporary"
    ledger.add(attempt("u", reason="http-503", outcome="retry"))
    assert ledger.report(1)["refused"] == {"timeout": 1}, "a retry settles nothing"
    ledger.add(attempt("u", b"1"), b"1")
    assert ledger.report(1) == {
        "asked": 1,
        "stored": 1,
        "duplicates": 0,
        "refused": {},
        "licences": {"unknown": 1},
    }


def test_the_source_of_an_image_does_not_depend_on_the_order_of_arrival() -> None:
    attempts = [
        attempt("c", b"1", rank=9, licence="by", outcome="duplicate"),
        attempt("a", b"1", rank=2),
        attempt("b", b"1", rank=1, outcome="duplicate"),
        attempt("d", b"2", rank=5),
        attempt("e", b"2", rank=4, outcome="duplicate"),
        attempt("f", b"2", rank=4, outcome="duplicate"),
        attempt("g", rank=1),
    ]
    for order in (attempts, attempts[::-1]):
        assert sorted(one.source_url for one in provenance(order).values()) == ["c", "e"]


def test_the_source_of_an_image_stays_after_a_later_crawl() -> None:
    found = attempt("first", b"1", rank=30, time="2026-01-01T23:59:59+00:00")
    later = [
        attempt("better", b"1", rank=1, outcome="duplicate", time="2026-01-02T00:00:00+00:00"),
        attempt("by", b"1", rank=9, licence="by", outcome="duplicate", time="2026-01-03"),
        attempt("cc0", b"1", rank=40, licence="cc0", outcome="duplicate", time="2026-01-04"),
    ]

    def source(attempts: list[Attempt], *demanded: str) -> str:
        (one,) = provenance(attempts, demanded).values()
        return one.source_url

    assert source([found, later[0]]) == "first"
    assert source([found, *later]) == "by", "an attempt with a licence replaces one without"
    assert source([found, *later], "cc0") == "cc0"


def test_lines_of_another_version_and_damaged_lines(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    line_of_a_newer_version = {
        "dance": "d",
        "engine": "e",
        "query": "q",
        "rank": 1,
        "source_url": "u",
        "later": 1,
    }
    path.write_text(json.dumps(line_of_a_newer_version) + "\n")
    assert read_ledger(path)[0].source_url == "u"
    assert read_ledger(tmp_path / "none.jsonl") == []
    for line in (b"[]", b"{", b'{"dance": 1}', b"\xff"):
        path.write_bytes(b"\n" + line + b"\n")
        with pytest.raises(PipelineError, match="line 2: not a valid record of an attempt"):
            read_ledger(path)


def test_text_that_utf8_cannot_encode(ledger: Ledger) -> None:
    ledger.add(attempt("u", reason="empty", detail="half \ud83d, \0 and a\nline", creator="ஆ"))
    (read,) = read_ledger(ledger.path)
    assert (read.detail, read.creator) == ("half ?, \0 and a\nline", "ஆ")


def test_one_process_at_a_time(ledger: Ledger, tmp_path: Path) -> None:
    folder = str(tmp_path / "kathak")
    code = (
        "from pathlib import Path\nfrom pipeline.dataset.ledger import Ledger\n"
        f"Ledger(Path({folder!r})).__enter__()"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert other.returncode == 1
    assert "another crawl uses this folder" in other.stderr


def test_a_line_that_a_full_disk_truncates_is_removed(ledger: Ledger) -> None:
    """A full disk may write part of a line; the ledger stays as it was."""
    ledger.add(attempt("u1", reason="empty"))
    before = ledger.path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            ledger.add(attempt("u2", reason="empty"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(ledger.path)
    assert ledger.path.read_bytes() == before
    assert not ledger.is_settled("u2", always)
