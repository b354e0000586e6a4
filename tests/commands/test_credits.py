"""Credits list exactly the images in use, and escape text from the web."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pipeline.commands import credits
from pipeline.core.errors import PipelineError
from pipeline.dataset.split_table import SplitRow, header, write_split
from tests.tables import sample, write


def named(name: str, label: str = "kathak", **more: Any) -> dict[str, Any]:
    url = f"https://host.example/{name}.jpg"
    return sample(name, label, label_name=label.title(), source_url=url, **more)


BY = {
    "licence": "by",
    "licence_url": "https://creativecommons.org/licenses/by/4.0/",
    "creator": "A. Person",
    "attribution": "“Spin” by A. Person, CC BY 4.0",
    "page_url": "https://host.example/page/1",
    "engine": "openverse",
}


@pytest.fixture
def written(project: Callable[..., Path]) -> Path:
    """Give a project with five samples; three of them are in use."""
    folder = project()
    rows = [
        named("b", **BY),
        named("a"),
        named("c", "jagoi", licence="cc0", page_url="javascript:alert(1)"),
        named("d"),
        named("e", **BY),
    ]
    write("dances", rows)
    parts = zip(rows, ["train", "valid", "test", "out", "out"], strict=True)
    split = [SplitRow(row["sample_id"], "", row["label"], part, "", "") for row, part in parts]
    write_split("dances", header(has_folds=False), [row[:-1] for row in split])
    return folder


def run(*arguments: str) -> str:
    result = CliRunner().invoke(credits.main, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.output


def test_exactly_the_images_in_use(written: Path) -> None:
    output = run("dances", "--to", "published")
    assert output.endswith("credits.md: 3 images; licences: by 1, cc0 1, unknown 1\n")
    with (written / "published/credits.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["sample_id"] for row in rows] == ["jagoi/c", "kathak/a", "kathak/b"]
    assert [row["part"] for row in rows] == ["test", "valid", "train"]
    assert {name: rows[2][name] for name in BY} == BY
    assert rows[1]["licence"] == ""


def test_the_page(written: Path) -> None:
    run()
    page = (written / "data/dances/reports/credits.md").read_text(encoding="utf-8")
    assert "3 images in use. Licences: by 1, cc0 1, unknown 1." in page
    assert "Ask the maker before you publish an image whose licence is unknown." in page
    assert (
        "- [“Spin” by A. Person, CC BY 4.0](<https://host.example/page/1>), "
        "licence: [by](<https://creativecommons.org/licenses/by/4.0/>), `kathak/b`\n"
    ) in page
    assert "- creator: unknown, licence: cc0, `jagoi/c`\n" in page, "javascript: is not linked"
    assert (
        "- [creator: unknown](<https://host.example/a.jpg>), licence: unknown, `kathak/a`" in page
    )
    assert page.index("## Jagoi") < page.index("## Kathak")


def test_text_from_the_web_is_escaped() -> None:
    hostile = "a](http://evil) <script>\n# b |`*_ & \\"
    line = credits.credit_line(
        dict.fromkeys(credits.HEADER)
        | named("x", creator=hostile, page_url="https://x/>)<script> y", licence="<b>")
    )
    assert "\n" not in line
    assert "<script" not in line.replace("\\<script", "")
    assert "](<https://x/)scripty>)" in line
    assert "\\<b\\>" in line


def test_a_split_of_other_samples(written: Path) -> None:
    with pytest.raises(
        PipelineError,
        match=r"split.csv: file is damaged .*: 1 of its samples are not in .* kathak/z",
    ):
        credits.credits_of("dances", [], {"kathak/z": "train"})
    (written / "data/dances/split.csv").unlink()
    assert "split.csv: file not found; run `dvc repro split@dances`" in run()
    (written / "data/dances/split.csv").write_text("sample_id\nx\n")
    damaged = run()
    assert "split.csv: file is damaged" in damaged and "'content_id'" in damaged


def test_no_images_in_use() -> None:
    assert credits.markdown("dances", []) == "# Credits: dances\n\nNo images are in use.\n"
