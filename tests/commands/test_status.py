"""`kalai status` prints what the reports hold, and names a damaged report."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.commands.status import main, status
from pipeline.core.files import write_json
from pipeline.report.wording import counts


def test_reports_are_printed_in_the_order_of_the_stages(project: Callable[..., Path]) -> None:
    reports = project() / "data/dances/reports"
    refused = {"http-404": 1, "truncated": 3, "robots": 0}
    for dance, stored, refusals in (("kathak", 8, refused), ("jagoi", 9, {"robots": 2})):
        report = {"asked": 9, "stored": stored, "duplicates": 2, "refused": refusals}
        write_json(reports / f"crawl-{dance}.json", report)
    gone = {"asked": 9, "stored": 5, "duplicates": 0, "refused": {}}
    write_json(reports / "crawl-odissi.json", gone)  # not in params.yaml any more
    write_json(reports / "collect.json", {"samples": 17, "rejected": {}})
    conflicts = {"clusters": 1, "samples": 2}
    removed = {"same-bytes": 4, "near-duplicate": 0}
    write_json(
        reports / "dedupe.json",
        {"samples": 17, "kept": 11, "removed": removed, "conflicts": conflicts},
    )
    assert list(status()) == [
        "dances",
        "  crawled    17 images of 18 wanted (jagoi 9, kathak 8)",
        "  repeated   4 downloads with the bytes of a stored image",
        "  refused    6 downloads: truncated 3, robots 2, http-404 1",
        "  samples    17; rejected: none",
        "  duplicates 4 identical, 0 near-duplicates, 2 samples in 1 label conflicts; "
        "11 of 17 samples kept",
        "tamil",
        "  no reports run `dvc repro`",
    ]


@pytest.mark.parametrize("name", ["collect", "crawl-kathak"])
@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"samples": 3}', "3"])
def test_a_damaged_report_is_named(project: Callable[..., Path], name: str, text: str) -> None:
    reports = project() / "data/dances/reports"
    reports.mkdir()
    (reports / f"{name}.json").write_text(text)
    result = CliRunner().invoke(main)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: data/dances/reports/{name}.json: file is damaged")
    assert len(result.stderr.splitlines()) == 1


def test_outside_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main)
    assert result.exit_code == 1
    assert "project's root" in result.stderr


def test_counts_of_nothing_are_none() -> None:
    assert counts({}) == counts({"a": 0}) == "none"
