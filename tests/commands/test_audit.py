"""`kalai audit` counts leaks in any folder of parts, and in a dataset of the project."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import ImageOps

from pipeline.commands import audit
from pipeline.commands.audit import findings, images_in, main, report_of, train_part
from pipeline.core.errors import PipelineError
from pipeline.dedupe import stage as dedupe
from pipeline.split import stage
from tests.tables import drawn, encoded, picture, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A split with one leak of each kind: 10 in train, 8 in valid, 2 in test."""
    root = tmp_path_factory.mktemp("photos")

    def put(name: str, data: bytes) -> None:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    for n in range(10):
        put(f"train/ab_{n}/{n}.jpg", encoded(drawn(n)))
    put("valid/a/copy.png", encoded(drawn(0)))
    put("valid/a/again.jpg", encoded(drawn(0)))
    put("valid/near.jpg", encoded(drawn(1).resize((200, 150)), quality=80))
    put("valid/mirror.png", encoded(ImageOps.mirror(drawn(2)), "PNG"))
    put("valid/ab_7/other.jpg", encoded(drawn(70)))
    for n in range(80, 83):
        put(f"valid/{n}.jpg", encoded(drawn(n)))
    put("test/90.jpg", encoded(drawn(90)))
    put("test/91.jpg", encoded(drawn(91)))
    put("test/labels.txt", b"not a picture")
    put("test/cut.jpg", encoded(drawn(92))[:2000])
    put(".cache/x.jpg", encoded(drawn(93)))
    return root


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_leaks_of_a_folder_are_counted_by_kind(folder: Path) -> None:
    images = images_in(folder, group=r"(ab_\d+)/")
    report = report_of(images, train_part(images, None))
    assert report["train"] == {"part": "train", "pictures": 10}
    assert report["held_out"] == {
        "test": {
            "pictures": 2,
            "same_bytes": 0.0,
            "near_duplicate": 0.0,
            "mirrored": 0.0,
            "same_group": 0.0,
            "perhaps": 0.0,
        },
        "valid": {
            "pictures": 8,
            "same_bytes": 0.25,
            "near_duplicate": 0.375,
            "mirrored": 0.125,
            "same_group": 0.125,
            "perhaps": 0.0,
        },
    }
    assert report["unreadable"] == {"not-an-image": 1, "truncated": 1}
    assert "crops, borders, collages" in report["residual_method"]
    found = {(row[1], row[2], row[4]) for row in findings(images, "train")}
    assert found == {
        ("valid/a/copy.png", "same", "train/ab_0/0.jpg"),
        ("valid/a/again.jpg", "same", "train/ab_0/0.jpg"),
        ("valid/near.jpg", "near", "train/ab_1/1.jpg"),
        ("valid/mirror.png", "mirror", "train/ab_2/2.jpg"),
    }
    assert all(part == "valid" and bits <= 10 for part, _, _, bits, _ in findings(images, "train"))


def test_the_command_prints_a_table_or_json_and_lists_the_pairs(
    folder: Path, tmp_path: Path
) -> None:
    result = run(str(folder), "--list", str(tmp_path / "leaks.csv"))
    assert result.exit_code == 0, result.output
    assert "37.5%" in result.output
    assert "unreadable files: not-an-image 1, truncated 1" in result.output
    with (tmp_path / "leaks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == audit.HEADER
    assert sorted(row["kind"] for row in rows) == ["mirror", "near", "same", "same"]
    report = json.loads(run(str(folder), "--json", "--train", "valid").stdout)
    assert report["train"]["part"] == "valid"
    assert report["held_out"]["train"]["same_bytes"] == 0.1


def test_a_share_above_the_limit_fails(folder: Path) -> None:
    assert run(str(folder), "--fail-above", "0.5").exit_code == 0
    result = run(str(folder), "--fail-above", "0.01")
    assert result.exit_code == 1
    assert (
        "error: 37.5% of the images in a held-out part have a duplicate in train; "
        "--fail-above allows 1.0%" in result.output
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere"], "nowhere: folder not found; expected one subfolder per part"),
        (["no/where"], "no/where: folder not found; expected one subfolder per part"),
        (
            ["{}", "--train", "trian"],
            "no part is named trian; name it with --train; parts with images: test, train, valid",
        ),
        (
            ["{}/valid"],
            "cannot tell which part is trained on; name it with --train; parts with images: a, ",
        ),
        (["{}/train/ab_0"], "no images found; expected"),
        (["{}", "--group", "("], "error: --group (: not a regular expression: missing )"),
        (
            ["{}", "--within", "70"],
            "error: --within 70: found 70; expected less than or equal to 32",
        ),
    ],
)
def test_an_error_is_one_line(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    expected: str,
) -> None:
    monkeypatch.chdir(tmp_path)  # outside a project
    result = run(*(argument.format(folder) for argument in arguments))
    assert result.exit_code == 1
    assert expected in result.output
    lines = [line for line in result.output.splitlines() if line.startswith("error")]
    assert len(lines) == 1


def test_one_part_alone_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "1.jpg").write_bytes(encoded(drawn(1)))
    with pytest.raises(PipelineError, match="train is the only part with images"):
        train_part(images_in(tmp_path), None)


def test_a_dataset_of_the_project_is_audited_by_name(project: Callable[..., Path]) -> None:
    project(
        **{
            "dedupe.birds": {"method": "phash"},
            "split.birds": {"method": "random", "valid": 0.3, "test": 0.3, "group_column": "rank"},
        }
    )
    write("birds", [picture(f"{n}", drawn(n), "ab"[n % 2], rank=n // 4) for n in range(40)])
    for command in (dedupe.main, stage.main):
        result = CliRunner().invoke(command, ["birds"])
        assert result.exit_code == 0, result.output
    result = run("birds", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    of_split = json.loads(Path("data/birds/reports/split.json").read_text())
    for part in ("valid", "test"):
        audited = dict(report["held_out"][part])
        assert audited.pop("pictures") == of_split["parts"][part]["samples"]
        assert audited == of_split["leak"]["after"][part]
        assert audited["same_group"] > 0.5
