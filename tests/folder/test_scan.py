"""Listings: what a folder or a table says of pictures, and what makes no sample of them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import PipelineError
from pipeline.core.params import TableColumn
from pipeline.folder.scan import Entry, of_folder, of_table


def lay(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def write(root: Path, text: str, name: str = "t.csv") -> Path:
    (root / name).write_text(text, encoding="utf-8")
    return root


def reasons(entries: list[Entry]) -> dict[str, str]:
    return {entry.sample_id: entry.refused.reason for entry in entries if entry.refused}


def test_a_folder_a_class(tmp_path: Path) -> None:
    lay(tmp_path, "wren/1.jpg", "wren/sub/2.jpg", "Blue Jay/a.png", "readme.txt", "wren/.hidden")
    entries = of_folder(tmp_path)
    assert {entry.place: entry.label for entry in entries if not entry.refused} == {
        "wren/1.jpg": "wren",
        "wren/sub/2.jpg": "wren",
        "Blue Jay/a.png": "Blue Jay",
    }
    assert all(entry.sample_id == entry.place and not entry.said for entry in entries)
    assert reasons(entries) == {"readme.txt": "unlabelled"}


def test_a_link_to_a_folder_is_not_followed_and_is_told(tmp_path: Path) -> None:
    root = lay(tmp_path / "birds", "wren/1.jpg")
    lay(tmp_path / "elsewhere", "2.jpg")
    (root / "owl").symlink_to(tmp_path / "elsewhere")
    (root / "wren/round").symlink_to(root)
    (root / "wren/3.jpg").symlink_to(tmp_path / "elsewhere/2.jpg")
    (root / "wren/lost.jpg").symlink_to("nowhere")
    entries = of_folder(root)
    assert reasons(entries) == {"owl": "linked-folder", "wren/round": "linked-folder"}
    found = [entry.place for entry in entries if not entry.refused]
    assert found == ["wren/1.jpg", "wren/3.jpg", "wren/lost.jpg"]


def test_a_folder_a_part_and_a_class_in_it(tmp_path: Path) -> None:
    lay(tmp_path, "Train/wren/1.jpg", "val/wren/2.jpg", "test/wren/3.jpg", "extra/wren/4.jpg", "5")
    lay(tmp_path, "train/6.jpg")
    entries = of_folder(tmp_path, "part/class")
    parts = {entry.place: entry.said["official_part"] for entry in entries if not entry.refused}
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
    lay(tmp_path, "train/wren/1.jpg", "Test/wren/2.jpg")
    with pytest.raises(PipelineError, match=r"Test, train are parts, not classes.*layout: part/cl"):
        of_folder(tmp_path)
    lay(tmp_path, "bus/1.jpg")  # with others beside it, a train is one that runs on rails
    assert {entry.label for entry in of_folder(tmp_path)} == {"train", "Test", "bus"}


def test_one_letter_written_in_two_ways_is_one_class(tmp_path: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    lay(tmp_path, f"{composed}/1.jpg", f"{decomposed}/2.jpg")
    entries = of_folder(tmp_path)
    assert {entry.label for entry in entries} == {composed}
    assert all((tmp_path / entry.place).exists() for entry in entries)
    write(tmp_path, f"path,label\na.jpg,{composed}\nb.jpg,{decomposed}\n")
    assert {entry.label for entry in of_table(tmp_path, "t.csv", {})} == {composed}


def test_a_table_of_paths_and_urls(tmp_path: Path) -> None:
    write(
        tmp_path,
        "file,species,group,licence,creator,official_part,weight\n"
        "a/1.jpg,wren,Ann,CC BY 4.0,Ann A.,train,3\n"
        f"{tmp_path}/a/2.jpg,owl,,,,Testing,4\n"
        "HTTPS://example.org/x?a=1,owl,,,,,\n",
    )
    first, second, third = of_table(tmp_path, "t.csv", {"image": "file", "label": "species"})
    assert (first.sample_id, first.label, first.place) == ("wren/a/1.jpg", "wren", "a/1.jpg")
    assert first.said == {
        "group": "Ann",
        "licence": "CC BY 4.0",
        "creator": "Ann A.",
        "official_part": "train",
    }
    assert (second.sample_id, second.place) == ("owl/a/2.jpg", "a/2.jpg")
    assert second.said == {"official_part": "test"}
    assert third.is_url and third.said == {"source_url": "HTTPS://example.org/x?a=1"}
    assert third.sample_id.startswith("owl/") and "example" not in third.sample_id


@pytest.mark.parametrize("name", ["path", "file_name", "filename", "url", "image"])
def test_usual_names_need_no_columns(tmp_path: Path, name: str) -> None:
    write(tmp_path, f"label,{name}\nowl,1.jpg\n")
    assert of_table(tmp_path, "t.csv", {})[0].place == "1.jpg"


def test_a_row_that_makes_no_sample_has_a_reason(tmp_path: Path) -> None:
    write(
        tmp_path,
        "path,label,official_part\n1.jpg,owl,\n,owl,\n2.jpg,,\n3.jpg,owl,eval\n../x.jpg,owl,\n"
        "/etc/passwd,owl,\ns3://b/k,owl,\n1.jpg,owl,train\n1.jpg,wren,\n4.jpg\n./a/../1.jpg,owl,\n",
    )
    entries = of_table(tmp_path, "t.csv", {})
    found = [entry.refused and entry.refused.reason for entry in entries]
    assert found == [
        None, "no-path", "unlabelled", "unknown-part", "outside", "outside", "scheme",
        "duplicate-row", None, "malformed-row", "duplicate-row",
    ]  # fmt: skip
    assert all(entry.refused.detail for entry in entries if entry.refused)
    assert entries[9].place == "t.csv, row 10"
    ids = [entry.sample_id for entry in entries if not entry.refused]
    assert ids == ["owl/1.jpg", "wren/1.jpg"]  # one picture under two labels is dedupe's to judge


@pytest.mark.parametrize(
    ("header", "columns", "said"),
    [
        ("label,photo", {}, "no column path or file_name .*it has: label, photo;.*columns.image"),
        ("path,species", {}, "no column label; it has: path, species; .*columns.label"),
        ("path,label", {"group": "writer"}, "no column writer; .*columns.group"),
    ],
)
def test_a_table_without_its_columns(
    tmp_path: Path, header: str, columns: Mapping[TableColumn, str], said: str
) -> None:
    write(tmp_path, header + "\n")
    with pytest.raises(PipelineError, match=said):
        of_table(tmp_path, "t.csv", columns)


PLACES = st.sampled_from(["a.jpg", "b/a.jpg", "http://h/a", "http://h/b", "../x", ""])


@given(rows=st.lists(st.tuples(PLACES, st.sampled_from(["owl", "wren", ""])), max_size=12))
def test_ids_are_unique_and_no_row_is_lost(
    rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.getbasetemp()
    write(root, "path,label\n" + "".join(f"{place},{label}\n" for place, label in rows))
    entries = of_table(root, "t.csv", {})
    assert len(entries) == len(rows)
    ids = [entry.sample_id for entry in entries if not entry.refused]
    assert len(ids) == len(set(ids))
