"""Stage `dedupe`: mark duplicates, near-duplicates and label conflicts."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import click
import numpy as np
import pyarrow as pa

from pipeline.core.errors import Stage
from pipeline.core.files import write_json
from pipeline.core.params import Dedupe, load_params, section
from pipeline.dataset.columns import (
    CLUSTER,
    CONTENT_ID,
    DISTANCE,
    KEEPER_ID,
    LABEL,
    PHASH,
    REASON,
    SAMPLE_ID,
    STATUS,
)
from pipeline.dataset.contents import COLUMNS, Contents, Ints, contents_of
from pipeline.dataset.dedupe_result import (
    CONFLICT,
    KEEP,
    NEAR_DUPLICATE,
    SAME_BYTES,
    SCHEMA,
    write_marks,
)
from pipeline.dataset.pairs_table import KINDS, NEAR, Edges, clusters_of, pairs_table, write_pairs
from pipeline.dataset.paths import report_path
from pipeline.dataset.samples import read_samples
from pipeline.dedupe import hash_cache, on_dask
from pipeline.dedupe.clusters import Marks, mark
from pipeline.dedupe.edges import crop_edges, edges_of, of_one_kind
from pipeline.dedupe.hamming import U64, near_values
from pipeline.dedupe.hash_cache import BOTH, CROP, hashes_of
from pipeline.dedupe.on_dask import hash_on
from pipeline.scale.dask import Cluster, workers


def find_edges(
    dataset: str, contents: Contents, params: Dedupe, cluster: Cluster | None = None
) -> tuple[U64 | None, Edges]:
    """Return the hashes (m,) of m contents, and the edges between the contents.

    The hashes are None if the method is exact. Workers of the `cluster`, if given, hash and search.
    Raises PipelineError if an image cannot be decoded.
    """
    hashes, edges = None, Edges()
    hash_missing = None if cluster is None else partial(hash_on, cluster, dataset)
    if params.method == "phash":
        kind = BOTH if params.mirror else hash_cache.PHASH
        found = hashes_of(dataset, contents.ids, kind, hash_missing)
        hashes = np.array([row[0] for row in found], np.uint64)
        mirrored = np.array([row[1] for row in found], np.uint64) if params.mirror else None
        search = near_values if cluster is None else partial(on_dask.near_values, cluster, dataset)
        edges = edges_of(hashes, mirrored, params.review_within, params.group_within, search)
    if params.crop:
        regions = hashes_of(dataset, contents.ids, CROP, hash_missing)
        edges = edges._replace(crop=crop_edges(regions))
    return hashes, of_one_kind(edges)


def table_of(
    samples: pa.Table, contents: Contents, marks: Marks, clusters: Ints, hashes: U64 | None
) -> pa.Table:
    """Return dedupe.parquet as a table, one row for each sample, in the order of the samples.

    `clusters` and `hashes` (m,) have a value for each content.
    """
    ids = samples[SAMPLE_ID].combine_chunks()
    n = contents.of.size
    return pa.table(
        {
            SAMPLE_ID: ids,
            CONTENT_ID: samples[CONTENT_ID].combine_chunks(),
            LABEL: samples[LABEL].combine_chunks(),
            PHASH: pa.nulls(n, pa.uint64()) if hashes is None else hashes[contents.of],
            CLUSTER: clusters[contents.of],
            KEEPER_ID: ids.take(pa.array(marks.keeper)),
            STATUS: marks.status,
            REASON: marks.reason,
            DISTANCE: marks.distance,
        },
        schema=SCHEMA,
    )


def report_of(
    params: Dedupe, contents: Contents, marks: Marks, clusters: Ints, edges: Edges
) -> dict[str, Any]:
    """Return the metrics: numbers of samples by status, of pairs by kind, and of clusters.

    `clusters` (m,) are the cluster numbers of the m distinct images.
    """
    reasons = Counter(marks.reason)
    in_conflict = np.array(marks.status) == CONFLICT
    sizes = np.bincount(clusters) if clusters.size else np.zeros(1, np.int64)
    report: dict[str, Any] = {
        "method": params.method if params.method == "exact" else hash_cache.PHASH.policy,
        "samples": len(marks.status),
        "kept": marks.status.count(KEEP),
        "removed": {reason: reasons[reason] for reason in (SAME_BYTES, NEAR_DUPLICATE)},
        "conflicts": {
            "clusters": len(set(clusters[contents.of[in_conflict]].tolist())),
            "samples": int(in_conflict.sum()),
        },
        "distinct_contents": len(contents.ids),
        "clusters": {"of_several": int((sizes > 1).sum()), "largest": int(sizes.max())},
    }
    pairs: dict[str, int] = {}
    if params.method == "phash":
        distance = edges.near.distance
        is_removed, is_grouped = distance <= params.remove_within, distance <= params.group_within
        pairs["to_remove"] = int(is_removed.sum())
        pairs["to_group"] = int((is_grouped & ~is_removed).sum())
        pairs["to_review"] = int((~is_grouped).sum())
    for name, found in edges._asdict().items():
        if name != NEAR and KINDS[name].is_searched(params):
            pairs[KINDS[name].leak] = int(found.a.size)
    return report | ({"pairs": pairs} if pairs else {})


@click.command(cls=Stage)
@click.argument("dataset")
def main(dataset: str) -> None:
    """Mark duplicates, near-duplicates and label conflicts.

    Deletes nothing. Every sample gets a status; a removed one also gets the reason and the sample
    that is kept instead.

    \b
    Example:
      python -m pipeline.dedupe dances
    """
    everything = load_params()
    params: Dedupe = section(everything, "dedupe", dataset)
    samples = read_samples(dataset, [*COLUMNS, LABEL])
    contents = contents_of(samples)
    hashes, edges = None, Edges()
    if params.method == "phash" or params.crop:
        with workers(everything.compute) as cluster:
            hashes, edges = find_edges(dataset, contents, params, cluster)
    marks = mark(samples, contents, edges.near, params.remove_within)
    clusters = clusters_of(len(contents.ids), edges, params.group_within)
    table = table_of(samples, contents, marks, clusters, hashes)
    write_marks(dataset, table, params)
    write_pairs(dataset, pairs_table(samples, contents, edges))
    write_json(report_path(dataset, "dedupe"), report_of(params, contents, marks, clusters, edges))
