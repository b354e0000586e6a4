"""The index of the review page: a column a fact, so that the browser searches and sorts by all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc

# Of samples.parquet: what people search and sort by. Long ones (URLs) are asked for one by one.
TOLD = (
    "group",
    "official_part",
    "width",
    "height",
    "original_width",
    "original_height",
    "original_bytes",
    "original_format",
    "notes",
    "engine",
    "query",
    "rank",
    "licence",
    "creator",
)
OF_SPLIT = ("part", "reason")
OF_PREDICTIONS = ("predicted", "probability", "label_probability", "loss")

Column = dict[str, Any]  # {"values": [...]}, or {"names": [...], "codes": [...]} with -1 for none


def index_of(
    samples: pa.Table, parts: Mapping[str, Sequence[str]], predictions: pa.Table | None
) -> dict[str, Any]:
    """Return the samples' facts in columns of one length.

    `parts` gives (part, reason) by sample id. A column that says nothing of any sample is left
    out. `classes` are in the order of their labels; the codes of `label` are places in it.
    """
    ids = samples["sample_id"].to_pylist()
    classes = classes_of(samples)
    columns = {"label": coded(samples["label"])}
    for place, name in enumerate(OF_SPLIT):
        values = [
            parts[sample_id][place] or None if sample_id in parts else None for sample_id in ids
        ]
        columns[name] = coded(pa.chunked_array([pa.array(values, pa.string())]))
    columns |= {name: column_of(samples[name]) for name in TOLD}
    columns["site"] = sites_of(samples)
    if predictions is not None:
        at = pc.index_in(samples["sample_id"], value_set=predictions["sample_id"].combine_chunks())
        for name in OF_PREDICTIONS:
            columns[name] = column_of(predictions[name].combine_chunks().take(at.combine_chunks()))
    return {
        "sample_id": ids,
        "content_id": samples["content_id"].to_pylist(),
        "classes": classes,
        "columns": {name: column for name, column in columns.items() if says_something(column)},
    }


def classes_of(samples: pa.Table) -> list[dict[str, str | None]]:
    """Return label, name and romanised name of each class, in the order of the labels."""
    names = ("label", "label_name", "romanised")
    found = samples.group_by(list(names)).aggregate([]).sort_by("label").to_pylist()
    first = {row["label"]: row for row in reversed(found)}  # a label has one name
    return [first[label] for label in sorted(first)]


def column_of(values: pa.Array | pa.ChunkedArray) -> Column:
    """Return a column as JSON can hold it: text as codes of names, numbers as they are."""
    if pa.types.is_string(values.type):
        return coded(values)
    if pa.types.is_floating(values.type):
        values = pc.round(pc.cast(values, pa.float64()), 5)
    return {"values": values.to_pylist()}


def coded(values: pa.Array | pa.ChunkedArray) -> Column:
    """Return text as places in its sorted names; -1 where there is none."""
    encoded = pc.dictionary_encode(
        values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    )
    names: list[str] = encoded.dictionary.to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    place = {old: new for new, old in enumerate(order)}
    codes = [place.get(code, -1) for code in encoded.indices.to_pylist()]
    return {"names": [names[old] for old in order], "codes": codes}


def sites_of(samples: pa.Table) -> Column:
    """Return the host on which each picture was found."""
    addresses = pc.coalesce(samples["page_url"], samples["source_url"]).combine_chunks()
    encoded = pc.dictionary_encode(addresses)
    hosts = pa.array([host_of(address) for address in encoded.dictionary.to_pylist()], pa.string())
    return coded(hosts.take(encoded.indices))


def host_of(address: str) -> str | None:
    """Return the host of a URL, None where it has none."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


def says_something(column: Column) -> bool:
    """Tell whether a column says anything of any sample."""
    if "codes" in column:
        return bool(column["names"])
    return any(value is not None for value in column["values"])
