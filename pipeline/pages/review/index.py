"""The index of the review page: the columns that the browser searches and sorts.

To add a column of samples.parquet to the page, add it to SAMPLE_FACTS.
A column is {"values": [...]}, or {"names": [...], "codes": [...]} for text: a code is an index
into the names, -1 if there is no value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.dataset.columns import (
    CONTENT_ID,
    CREATOR,
    ENGINE,
    GROUP,
    HEIGHT,
    LABEL,
    LABEL_PROBABILITY,
    LICENCE,
    LOSS,
    NOTES,
    OFFICIAL_PART,
    ORIGINAL_BYTES,
    ORIGINAL_FORMAT,
    ORIGINAL_HEIGHT,
    ORIGINAL_WIDTH,
    PAGE_URL,
    PART,
    PREDICTED,
    PROBABILITY,
    QUERY,
    RANK,
    REASON,
    SAMPLE_ID,
    SOURCE_URL,
    WIDTH,
)
from pipeline.dataset.labels import class_names
from pipeline.dataset.split_table import OUT, TEST, TRAIN, VALID


class Fact(NamedTuple):
    """A column of the index: its title on the page, and whether the page's search looks into it."""

    title: str
    is_searched: bool = False


# The columns of samples.parquet that people search and sort by. They leave out URLs, which are
# long: the page requests those of one image at a time.
SAMPLE_FACTS = {
    GROUP: Fact("group", True),
    OFFICIAL_PART: Fact("official set"),
    WIDTH: Fact("width"),
    HEIGHT: Fact("height"),
    ORIGINAL_WIDTH: Fact("original width"),
    ORIGINAL_HEIGHT: Fact("original height"),
    ORIGINAL_BYTES: Fact("original bytes"),
    ORIGINAL_FORMAT: Fact("original format"),
    NOTES: Fact("notes", True),
    ENGINE: Fact("search engine", True),
    QUERY: Fact("query", True),
    RANK: Fact("rank"),
    LICENCE: Fact("licence", True),
    CREATOR: Fact("creator", True),
}
SPLIT_FACTS = {PART: Fact("set"), REASON: Fact("reason left out", True)}
PREDICTION_FACTS = {
    PREDICTED: Fact("prediction", True),
    PROBABILITY: Fact("prediction probability"),
    LABEL_PROBABILITY: Fact("label probability"),
    LOSS: Fact("loss"),
}
SITE = "site"  # the host of the page on which an image was found
FACTS = {
    LABEL: Fact("class"),
    SAMPLE_ID: Fact("sample id"),
    **SPLIT_FACTS,
    **SAMPLE_FACTS,
    SITE: Fact("site", True),
    **PREDICTION_FACTS,
}
# what people call the parts of the split
PART_NAMES = {TRAIN: "training set", VALID: "validation set", TEST: "test set", OUT: "left out"}

Column = dict[str, Any]


def index_of(
    samples: pa.Table, parts: Mapping[str, Sequence[str]], predictions: pa.Table | None
) -> dict[str, Any]:
    """Return the facts about the samples in columns of equal length.

    `parts` holds (part, reason) by sample id. A column without any value is left out. `classes`
    are in the order of their labels; the codes of the label column are indices into `classes`.
    """
    ids = samples[SAMPLE_ID].to_pylist()
    names = class_names(samples)
    columns = {LABEL: encoded(samples[LABEL])}
    for place, name in enumerate(SPLIT_FACTS):
        values = [
            parts[sample_id][place] or None if sample_id in parts else None for sample_id in ids
        ]
        columns[name] = encoded(pa.chunked_array([pa.array(values, pa.string())]))
    columns |= {name: column_of(samples[name]) for name in SAMPLE_FACTS}
    columns[SITE] = sites_of(samples)
    if predictions is not None:
        at = pc.index_in(samples[SAMPLE_ID], value_set=predictions[SAMPLE_ID].combine_chunks())
        for name in PREDICTION_FACTS:
            columns[name] = column_of(predictions[name].combine_chunks().take(at.combine_chunks()))
    return {
        SAMPLE_ID: ids,
        CONTENT_ID: samples[CONTENT_ID].to_pylist(),
        "classes": [asdict(names[label]) for label in sorted(names)],
        "columns": {name: column for name, column in columns.items() if has_values(column)},
        "titles": {name: fact.title for name, fact in FACTS.items()},
        "searched": [name for name, fact in FACTS.items() if fact.is_searched],
        "part_names": PART_NAMES,
    }


def column_of(values: pa.Array | pa.ChunkedArray) -> Column:
    """Return values as a column: text is encoded, floats are rounded to 5 decimals."""
    if pa.types.is_string(values.type):
        return encoded(values)
    if pa.types.is_floating(values.type):
        values = pc.round(pc.cast(values, pa.float64()), 5)
    return {"values": values.to_pylist()}


def encoded(values: pa.Array | pa.ChunkedArray) -> Column:
    """Return text as a column of codes; the names are sorted."""
    dictionary = pc.dictionary_encode(
        values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    )
    names: list[str] = dictionary.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    place = {old: new for new, old in enumerate(order)}
    codes = [place.get(code, -1) for code in dictionary.indices.to_pylist()]
    return {"names": [names[old] for old in order], "codes": codes}


def sites_of(samples: pa.Table) -> Column:
    """Return the host on which each image was found, as a column."""
    addresses = pc.coalesce(samples[PAGE_URL], samples[SOURCE_URL]).combine_chunks()
    dictionary = pc.dictionary_encode(addresses)
    hosts = [host_of(address) for address in dictionary.dictionary.to_pylist()]
    return encoded(pa.array(hosts, pa.string()).take(dictionary.indices))


def host_of(address: str) -> str | None:
    """Return the host of a URL; None if it has none."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def has_values(column: Column) -> bool:
    """Return whether a column holds a value for any sample."""
    if "codes" in column:
        return bool(column["names"])
    return any(value is not None for value in column["values"])
