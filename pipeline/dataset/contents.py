"""Contents: the distinct images of a dataset; several samples may have the same content.

Contents are numbered in the order of their ids, and samples have a total order. So no result
depends on the order of the rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.dataset.columns import (
    CONTENT_ID,
    HEIGHT,
    ORIGINAL_BYTES,
    ORIGINAL_HEIGHT,
    ORIGINAL_WIDTH,
    RANK,
    SAMPLE_ID,
    WIDTH,
)

Ints = NDArray[np.int64]

# the columns of samples.parquet that `contents_of` needs
COLUMNS = (
    SAMPLE_ID,
    CONTENT_ID,
    WIDTH,
    HEIGHT,
    ORIGINAL_WIDTH,
    ORIGINAL_HEIGHT,
    ORIGINAL_BYTES,
    RANK,
)


class Contents(NamedTuple):
    """The m distinct contents of n samples."""

    ids: list[str]  # (m,) sorted
    of: Ints  # (n,) index of each sample's content
    preference: Ints  # (n,) rank of each sample; 0 is the first to keep
    best: Ints  # (m,) index of each content's preferred sample


def contents_of(samples: pa.Table, is_first: NDArray[np.bool_] | None = None) -> Contents:
    """Return the distinct contents of samples, with the preferred sample for each content.

    `samples` has COLUMNS. Samples whose `is_first` (n,) is true come first. Ties are broken by
    larger original area, then more original bytes, then lower search rank, then sample id.
    """
    encoded = pc.dictionary_encode(samples[CONTENT_ID].combine_chunks())
    order = np.asarray(pc.sort_indices(encoded.dictionary))
    number = np.empty(order.size, np.int64)
    number[order] = np.arange(order.size)
    of = number[np.asarray(encoded.indices)]
    area = pc.multiply(
        pc.cast(pc.coalesce(samples[ORIGINAL_WIDTH], samples[WIDTH]), pa.int64()),
        pc.cast(pc.coalesce(samples[ORIGINAL_HEIGHT], samples[HEIGHT]), pa.int64()),
    )
    by = pa.table(
        {
            "first": np.zeros(of.size, bool) if is_first is None else is_first,
            "area": area,
            "bytes": samples[ORIGINAL_BYTES],
            "rank": samples[RANK],
            "id": samples[SAMPLE_ID],
        }
    )
    ways = ("descending", "descending", "descending", "ascending", "ascending")  # nulls come last
    keys = list(zip(by.column_names, ways, strict=True))
    first = np.asarray(pc.sort_indices(by, sort_keys=keys))
    preference = np.empty(first.size, np.int64)
    preference[first] = np.arange(first.size)
    best = np.empty(order.size, np.int64)
    best[of[first[::-1]]] = first[::-1]  # reversed, so that the preferred one is written last
    return Contents(encoded.dictionary.take(pa.array(order)).to_pylist(), of, preference, best)
