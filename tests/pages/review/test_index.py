"""The index: the samples' facts in columns."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dataset.samples import COLUMNS
from pipeline.dataset.split_table import read_split
from pipeline.pages.review.index import FACTS, SAMPLE_FACTS, column_of, encoded, host_of
from tests.reviewing import LABELS, NAME, QUERY, Client


def test_columns_hold_one_value_for_each_sample(reader: Client) -> None:
    index, rows = reader.get("/index"), read_split(NAME)
    assert index["sample_id"] == [row.sample_id for row in rows]
    assert index["content_id"] == [row.content_id for row in rows]
    assert index["classes"] == [
        {"label": label, "name": LABELS[label], "romanised": None} for label in sorted(LABELS)
    ]
    columns = index["columns"]
    for name, column in columns.items():
        assert len(column.get("codes", column.get("values"))) == len(rows), name
        assert index["titles"][name] == FACTS[name].title
    part = columns["part"]
    parts = [part["names"][code] for code in part["codes"]]
    assert parts == [row.part for row in rows]
    assert set(parts) <= index["part_names"].keys()
    assert columns["site"]["names"] == ["photos.example"]
    assert QUERY in columns["query"]["names"]
    assert "group" not in columns, "a column without values is left out"
    for name in ("predicted", "loss"):
        column = columns[name].get("codes", columns[name].get("values"))
        is_known = [value not in (None, -1) for value in column]
        assert is_known == [part in ("valid", "test") for part in parts]
    assert {"query", "creator", "reason"} <= set(index["searched"]) <= FACTS.keys()


def test_facts_of_samples_are_columns_of_samples() -> None:
    assert SAMPLE_FACTS.keys() <= COLUMNS.keys()


@given(st.lists(st.none() | st.text(max_size=3), max_size=20))
def test_codes_are_places_in_sorted_names(values: list[str | None]) -> None:
    column = encoded(pa.array(values, pa.string()))
    assert column["names"] == sorted({value for value in values if value is not None})
    decoded = [None if code < 0 else column["names"][code] for code in column["codes"]]
    assert decoded == values


def test_numbers_stay_numbers() -> None:
    assert column_of(pa.array([1, None], pa.int32())) == {"values": [1, None]}
    assert column_of(pa.array([0.123456789], pa.float32())) == {"values": [0.12346]}


def test_a_site_is_the_host_of_a_url() -> None:
    assert host_of("https://User@Photos.Example:8/x") == "photos.example"
    assert host_of("http://[broken") is None
    assert host_of("nothing") is None
