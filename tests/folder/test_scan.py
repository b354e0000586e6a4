"""Scanning folders and tables: labels, parts, sample ids, and reasons for rejections."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import PipelineError
from pipeline.core.params import TableColumn
from pipeline.folder.scan import Entry, scan_folder, scan_table


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def write_table(root: Path, text: str, name: str = "t.csv") -> Path:
    (root / name).write_text(text, encoding="utf-8")
    return root


def reasons(entries: list[Entry]) -> dict[str, str]:
    return {entry.sample_id: entry.refused.reason for entry in entries if entry.refused}


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    touch(tmp_path, "wren/1.jpg", "wren/sub/2.jpg", "Blue Jay/a.png", "readme.txt", "wren/.hidden")
    entries = scan_folder(tmp_path)
    assert {entry.location: entry.label for entry in entries if not entry.refused} == {
        "wren/1.jpg": "wren",
        "wren/sub/2.jpg": "wren",
        "Blue Jay/a.png": "Blue Jay",
    }
    assert all(entry.sample_id == entry.location and not entry.columns for entry in entries)
    assert reasons(entries) == {"readme.txt": "unlabelled"}


def test_a_link_to_a_folder_is_rejected_and_not_followed(tmp_path: Path) -> None:
    root = touch(tmp_path / "birds", "wren/1.jpg")
    touch(tmp_path / "elsewhere", "2.jpg")
    (root / "owl").symlink_to(tmp_path / "elsewhere")
    (root / "wren/round").symlink_to(root)
    (root / "wren/3.jpg").symlink_to(tmp_path / "elsewhere/2.jpg")
    (root / "wren/lost.jpg").symlink_to("nowhere")
    entries = scan_folder(root)
    assert reasons(entries) == {"owl": "linked-folder", "wren/round": "linked-folder"}
    found = [entry.location for entry in entries if not entry.refused]
    assert found == ["wren/1.jpg", "wren/3.jpg", "wren/lost.jpg"]


def test_a_folder_for_each_part_and_class(tmp_path: Path) -> None:
    touch(tmp_path, "Train/wren/1.jpg", "val/wren/2.jpg", "test/wren/3.jpg", "extra/wren/4.jpg")
    touch(tmp_path, "5", "train/6.jpg")
    entries = scan_folder(tmp_path, "part/class")
    parts = {
        entry.location: entry.columns["official_part"] for entry in entries if not entry.refused
    }
    assert parts == {
        "Train/wren/1.jpg": "train",
        "val/wren/2.jpg": "train",
        "test/wren/3.jpg": "test",
    }
    assert {entry.label for entry in entries if not entry.refused} == {"wren"}
    assert reasons(entries) == {
        "extra/wren/4.jpg": "unknown-part",
        "5": "unlabelled",
        "train/6.jpg": "unlabelled",
    }


def test_parts_are_not_taken_for_classes(tmp_path: Path) -> None:
    touch(tmp_path, "train/wren/1.jpg", "Test/wren/2.jpg")
    with pytest.raises(PipelineError, match=r"Test, train are parts, not classes; set layout: p"):
        scan_folder(tmp_path)
    touch(tmp_path, "bus/1.jpg")  # beside other classes, "train" is a class, too
    assert {entry.label for entry in scan_folder(tmp_path)} == {"train", "Test", "bus"}


def test_composed_and_decomposed_names_are_one_class(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    touch(tmp_path, f"{composed}/1.jpg", f"{decomposed}/2.jpg")
    entries = scan_folder(tmp_path)
    assert {entry.label for entry in entries} == {composed}
    assert all((tmp_path / entry.location).exists() for entry in entries)
    write_table(tmp_path, f"path,label\na.jpg,{composed}\nb.jpg,{decomposed}\n")
    assert {entry.label for entry in scan_table(tmp_path, "t.csv", {})} == {composed}


def test_a_table_of_paths_and_urls(tmp_path: Path) -> None:
    write_table(
        tmp_path,
        "file,species,group,licence,creator,official_part,weight\n"
        "a/1.jpg,wren,Ann,CC BY 4.0,Ann A.,train,3\n"
        f"{tmp_path}/a/2.jpg,owl,,,,Testing,4\n"
        "HTTPS://example.org/x?a=1,owl,,,,,\n",
    )
    first, second, third = scan_table(tmp_path, "t.csv", {"image": "file", "label": "species"})
    assert (first.sample_id, first.label, first.location) == ("wren/a/1.jpg", "wren", "a/1.jpg")
    assert first.columns == {
        "group": "Ann",
        "licence": "CC BY 4.0",
        "creator": "Ann A.",
        "official_part": "train",
    }
    assert (second.sample_id, second.location) == ("owl/a/2.jpg", "a/2.jpg")
    assert second.columns == {"official_part": "test"}
    assert third.is_url and third.columns == {"source_url": "HTTPS://example.org/x?a=1"}
    assert third.sample_id.startswith("owl/") and "example" not in third.sample_id


@pytest.mark.parametrize("name", ["path", "file_name", "filename", "url", "image"])
def test_usual_column_names_need_no_params(tmp_path: Path, name: str) -> None:
    write_table(tmp_path, f"label,{name}\nowl,1.jpg\n")
    assert scan_table(tmp_path, "t.csv", {})[0].location == "1.jpg"


def test_a_row_that_makes_no_sample_has_a_reason(tmp_path: Path) -> None:
    write_table(
        tmp_path,
        "path,label,official_part\n1.jpg,owl,\n,owl,\n2.jpg,,\n3.jpg,owl,eval\n../x.jpg,owl,\n"
        "/etc/passwd,owl,\ns3://b/k,owl,\n1.jpg,owl,train\n1.jpg,wren,\n4.jpg\n./a/../1.jpg,owl,\n",
    )
    entries = scan_table(tmp_path, "t.csv", {})
    found = [entry.refused and entry.refused.reason for entry in entries]
    assert found == [
        None, "no-path", "unlabelled", "unknown-part", "outside", "outside", "scheme",
        "duplicate-row", None, "malformed-row", "duplicate-row",
    ]  # fmt: skip
    assert all(entry.refused.detail for entry in entries if entry.refused)
    assert entries[9].location == "t.csv, row 10"
    ids = [entry.sample_id for entry in entries if not entry.refused]
    assert ids == ["owl/1.jpg", "wren/1.jpg"]  # dedupe judges one image with two labels


@pytest.mark.parametrize(
    ("header", "columns", "message"),
    [
        (
            "label,photo",
            {},
            "no column path or file_name .*it has: label, photo; set columns.image",
        ),
        ("path,species", {}, "no column label; it has: path, species; set columns.label in"),
        ("path,label", {"group": "writer"}, "no column writer; .*set columns.group"),
    ],
)
def test_a_table_without_its_columns(
    tmp_path: Path, header: str, columns: Mapping[TableColumn, str], message: str
) -> None:
    write_table(tmp_path, header + "\n")
    with pytest.raises(PipelineError, match=message):
        scan_table(tmp_path, "t.csv", columns)


PLACES = st.sampled_from(["a.jpg", "b/a.jpg", "http://h/a", "http://h/b", "../x", ""])


@given(rows=st.lists(st.tuples(PLACES, st.sampled_from(["owl", "wren", ""])), max_size=12))
def test_ids_are_unique_and_no_row_is_lost(
    rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.getbasetemp()
    write_table(root, "path,label\n" + "".join(f"{place},{label}\n" for place, label in rows))
    entries = scan_table(root, "t.csv", {})
    assert len(entries) == len(rows)
    ids = [entry.sample_id for entry in entries if not entry.refused]
    assert len(ids) == len(set(ids))
