"""Groups: samples that must stay in one part, by near-duplicate clusters and by origin."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError
from pipeline.dataset.columns import GROUP, IMAGE, SAMPLE_ID
from pipeline.dataset.contents import Ints
from pipeline.dataset.pairs_table import components
from pipeline.dataset.samples import COLUMNS


class Origin(NamedTuple):
    """One kind of provenance of n samples, such as the writer or the web page."""

    column: str
    number: Ints  # (n,) index into `values`; -1 is unknown
    values: list[str]


class Groups(NamedTuple):
    """g groups of n samples."""

    of: Ints  # (n,) the group of each sample
    keys: list[str]  # (g,) the identity that the draw depends on
    is_joined: NDArray[np.bool_]  # (g,) whether it holds several values of the same kind of origin


def origins_of(samples: pa.Table, column: str | None, pattern: str | None) -> list[Origin]:
    """Return the provenance of samples: the column `group`, and the one that params name.

    `pattern` is a regular expression. It is applied to the values of `column` (sample_id if None).
    The provenance is the text of the pattern's first capturing group, or the whole match if the
    pattern has none. Without a match, the provenance is unknown.

    Raises PipelineError if the column is unknown, or if the pattern matches no value at all.
    """
    found = [_origin(GROUP, samples[GROUP])]
    if column is None and pattern is None:
        return found
    column = column or SAMPLE_ID
    if column not in COLUMNS or column == IMAGE:
        names = ", ".join(name for name in COLUMNS if name != IMAGE)
        raise PipelineError(f"params.yaml: unknown group_column {column!r}; columns: {names}")
    if column != GROUP or pattern is not None:
        found.append(_origin(column, samples[column], pattern))
    if pattern is not None and not found[-1].values:
        raise PipelineError(
            f"params.yaml: group_pattern {pattern!r} matches no value of {column}, such as "
            f"{samples[column][0].as_py()!r}"
        )
    return found


def _origin(column: str, values: pa.ChunkedArray, pattern: str | None = None) -> Origin:
    encoded = pc.dictionary_encode(pc.cast(values, pa.string()).combine_chunks())
    names: list[str | None] = encoded.dictionary.to_pylist()
    if pattern is not None:
        matches = [re.search(pattern, name or "") for name in names]
        names = [match and match.group(1 if match.re.groups else 0) for match in matches]
    known = sorted({name for name in names if name})  # an empty string is unknown
    place = {name: number for number, name in enumerate(known)}
    numbers = np.array([*(place.get(name or "", -1) for name in names), -1], np.int64)
    codes = np.asarray(pc.fill_null(encoded.indices, len(names)))
    return Origin(column, numbers[codes], known)


def groups_of(clusters: Ints, origins: Sequence[Origin], content_ids: Sequence[str]) -> Groups:
    """Return the groups of n samples that share a cluster or an origin, directly or through others.

    `clusters` (n,) are cluster numbers. The key of a group is its first origin, or its first
    content id if it has none.
    """
    n = clusters.size
    a, b, nodes = [np.arange(n)], [n + clusters], n + int(clusters.max(initial=-1)) + 1
    for origin in origins:
        rows = np.flatnonzero(origin.number >= 0)
        a.append(rows)
        b.append(nodes + origin.number[rows])
        nodes += len(origin.values)
    of = components(nodes, np.concatenate(a), np.concatenate(b))[:n]
    _, of = np.unique(of, return_inverse=True)
    count = int(of.max(initial=-1)) + 1
    keys = [""] * count
    is_joined: NDArray[np.bool_] = np.zeros(count, bool)
    for origin in reversed(origins):  # later values overwrite earlier ones, so the first wins
        known = origin.number >= 0
        values = np.unique(np.column_stack([of[known], origin.number[known]]), axis=0)
        is_joined |= np.bincount(values[:, 0], minlength=count) > 1
        for group, number in values[::-1].tolist():
            keys[group] = f"{origin.column}={origin.values[number]}"
    is_alone = [not key for key in keys]
    for group, content_id in zip(of.tolist(), content_ids, strict=True):
        if is_alone[group]:
            keys[group] = min(content_id, keys[group] or content_id)
    return Groups(of, keys, is_joined)
