"""The stage splits datasets of any name on files, keeps parts as they grow, and names faults."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from click.testing import CliRunner

from pipeline.core.files import read_json
from pipeline.dataset.decisions import Decision, append_decisions, now
from pipeline.dataset.paths import dataset_folder
from pipeline.dataset.split_table import header
from pipeline.dedupe import stage as dedupe
from pipeline.split import stage
from tests.running import run
from tests.tables import content, drawn, picture, sample, write


def drawn_world(count: int = 14) -> list[dict[str, Any]]:
    """Return rows of two classes: an exact copy, a near copy and an image with two labels."""
    rows = [picture(f"{n}", drawn(n), "ab"[n % 2]) for n in range(count)]
    small = drawn(0).resize((200, 150))
    rows.append(picture("near", small, "a", quality=80))
    rows.append(rows[1] | {"sample_id": "b/copy"})
    rows.append(rows[2] | {"sample_id": "b/wrong", "label": "b"})
    return rows


def rows_of(dataset: str) -> dict[str, dict[str, str]]:
    with (dataset_folder(dataset) / "split.csv").open(newline="", encoding="utf-8") as file:
        return {row["sample_id"]: row for row in csv.DictReader(file)}


def test_the_stage_runs_on_a_dataset_of_any_name(project: Callable[..., Path]) -> None:
    project(
        **{
            "dedupe.birds": {"method": "phash"},
            "split.birds": {"method": "group", "valid": 0.2, "test": 0.2, "folds": 2},
        }
    )
    rows = drawn_world()
    write("birds", rows)
    run(dedupe.main, "birds")
    run(stage.main, "birds")
    found = rows_of("birds")
    assert list(found["a/0"]) == [*header(has_folds=True)]
    out = {name: row["reason"] for name, row in found.items() if row["part"] == "out"}
    assert out["a/near"] == "near-duplicate"
    assert {out.get("b/1"), out.get("b/copy")} == {None, "same-bytes"}
    assert out["a/2"] == out["b/wrong"] == "label-conflict"
    report = read_json(dataset_folder("birds") / "reports" / "split.json")
    assert report["out"] == {"label-conflict": 2, "near-duplicate": 1, "same-bytes": 1}

    decision = Decision(now(), rows[2]["content_id"], "relabel", "a", "seen", "anna")
    append_decisions(dataset_folder("birds") / "decisions.csv", [decision])
    run(stage.main, "birds")
    is_out = [rows_of("birds")[name]["part"] == "out" for name in ("a/2", "b/wrong")]
    assert sorted(is_out) == [False, True]
    decisions = read_json(dataset_folder("birds") / "reports" / "split.json")["decisions"]
    assert sum(decisions.pop("touching").values()) == 1
    assert decisions == {"pictures": 1, "of_no_sample": 0, "by_action": {"relabel": 1}}
    first = (dataset_folder("birds") / "split.csv").read_bytes()
    run(stage.main, "birds")
    assert (dataset_folder("birds") / "split.csv").read_bytes() == first


def test_a_dataset_keeps_its_parts_as_it_grows(project: Callable[..., Path]) -> None:
    """Adds near copies with pages of their own twice, through the stages and their files."""
    values = {"method": "group", "valid": 0.25, "test": 0.25, "group_column": "page_url"}
    project(**{"dedupe.birds": {"method": "phash"}, "split.birds": values})
    rows = [
        picture(f"{'ab'[seed % 2]}/{seed}", drawn(seed), "ab"[seed % 2], page_url=f"p{seed + 50}")
        for seed in range(24)
    ]
    before: dict[str, str] = {}
    for round_ in range(3):
        write("birds", rows)
        run(dedupe.main, "birds")
        run(stage.main, "birds")
        report = read_json(dataset_folder("birds") / "reports" / "split.json")
        assert report["moved_by_newest"] == 0
        found = {name: row["part"] for name, row in rows_of("birds").items()}
        gone = [name for name in before if found[name] == "out" != before[name]]
        assert bool(gone) == bool(round_), "a larger copy is kept instead"
        assert {name: before[name] for name in before if name not in gone}.items() <= found.items()
        came = pq.read_table(dataset_folder("birds") / "arrivals.parquet").to_pydict()
        assert Counter(came["arrived"])[round_ + 1] == (24 if round_ == 0 else 4)
        before = {name: part for name, part in found.items() if part != "out"}
        # larger copies of four old ones, on pages that sort before all others
        for number in range(4 * round_, 4 * round_ + 4):
            label, larger = "ab"[number % 2], drawn(number).resize((480, 360))
            page = f"p{40 - number}"
            rows.append(picture(f"{label}/new{number}", larger, label, page_url=page))


def test_the_stage_reports_an_image_that_joins_two_groups(project: Callable[..., Path]) -> None:
    values = {"method": "group", "valid": 0.25, "test": 0.25, "group_column": "page_url"}
    project(**{"dedupe.birds": {"method": "exact"}, "split.birds": values})
    rows = [sample(n, "ab"[n % 2], group=f"w{n}", page_url=f"p{n}") for n in range(40)]
    write("birds", rows)
    run(dedupe.main, "birds")
    run(stage.main, "birds")
    was = {name: row["part"] for name, row in rows_of("birds").items()}
    one, other = (list(was.values()).index(part) for part in ("train", "test"))
    write("birds", [*rows, sample("new", "a", group=f"w{one}", page_url=f"p{other}")])
    run(dedupe.main, "birds")
    output = run(stage.main, "birds").output
    now_ = {name: row["part"] for name, row in rows_of("birds").items()}
    assert sum(was[name] != now_[name] for name in was) == 1
    assert read_json(dataset_folder("birds") / "reports/split.json")["moved_by_newest"] == 1
    assert "birds: new images moved 1 earlier images to another part" in output
    (dataset_folder("birds") / "arrivals.parquet").write_bytes(b"PAR1")
    found = CliRunner().invoke(stage.main, ["birds"])
    assert found.exit_code == 1 and "arrivals.parquet: file is damaged" in found.output


def test_errors_name_a_missing_or_damaged_file(project: Callable[..., Path]) -> None:
    project(
        **{
            "dedupe.birds": {"method": "exact"},
            "split.birds": {"method": "group", "valid": 0.2, "test": 0.2},
        }
    )

    def fails(command: Any, says: str) -> None:
        result = CliRunner().invoke(command, ["birds"])
        assert result.exit_code == 1
        assert re.search(says, result.output), result.output
        assert result.output.count("\n") == 1

    fails(stage.main, "unknown dataset 'birds'; this project has: dances, tamil")
    (dataset_folder("birds")).mkdir()
    fails(stage.main, "birds/samples.parquet: file not found; run `dvc repro`, or `dvc pull`")
    rows = [sample(n, "ab"[n % 2]) for n in range(40)]
    write("birds", rows)
    fails(stage.main, "birds/dedupe.parquet: file not found; run `dvc repro dedupe@birds`")
    run(dedupe.main, "birds")
    decisions = dataset_folder("birds") / "decisions.csv"
    append_decisions(decisions, [Decision(now(), content(0), "relabel", "c")])
    fails(stage.main, "has the unknown label 'c'; classes: a, b")
    decisions.write_text("nonsense\n")
    fails(stage.main, "decisions.csv:1: expected the header")
    decisions.unlink()
    write("birds", rows[1:])
    fails(stage.main, "dedupe.parquet: file is damaged.*its samples are not")
    (dataset_folder("birds") / "dedupe.parquet").write_bytes(b"PAR1 nonsense")
    fails(stage.main, "dedupe.parquet: file is damaged or was written by another version")
    result = CliRunner().invoke(stage.main, ["fish"])
    assert "unknown dataset 'fish'; this project has: birds, dances, tamil" in result.output
