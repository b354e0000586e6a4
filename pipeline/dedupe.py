"""Stage: clusters of the same picture, who is kept for whom, and label conflicts."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import joins
from pipeline.cluster import Cluster, workers
from pipeline.duplicates import COLUMNS, Contents, Ints, Marks, contents_of, mark
from pipeline.errors import Stage
from pipeline.files import replacing, write_json
from pipeline.hash_shards import hash_on
from pipeline.hashes import BOTH, CROP, PHASH, hashes_of
from pipeline.links import (
    Links,
    clusters_of,
    crop_links,
    links_of,
    links_table,
    without,
    write_links,
)
from pipeline.pairs import U64, near_values
from pipeline.params import Dedupe, load_params, section
from pipeline.samples import dataset_folder, read_samples, reports_folder

SCHEMA = {
    "sample_id": pa.string(),
    "content_id": pa.string(),
    "label": pa.string(),
    "phash": pa.uint64(),  # null where the method is exact
    "cluster": pa.int64(),  # never crosses parts
    "keeper_id": pa.string(),  # its own where it is kept
    "status": pa.string(),  # keep, remove, conflict
    "reason": pa.string(),  # "", same-bytes, near-duplicate, label-conflict
    "distance": pa.int32(),  # bits to the keeper
}


def linked(
    dataset: str, contents: Contents, params: Dedupe, cluster: Cluster | None = None
) -> tuple[U64 | None, Links]:
    """Return the hashes of contents, where the method has them, and the links between them."""
    hashes, links = None, Links()
    spread = None if cluster is None else partial(hash_on, cluster, dataset)
    if params.method == "phash":
        found = hashes_of(dataset, contents.ids, BOTH if params.mirror else PHASH, spread)
        hashes = np.array([row[0] for row in found], np.uint64)
        mirrored = np.array([row[1] for row in found], np.uint64) if params.mirror else None
        search = near_values if cluster is None else partial(joins.near_values, cluster, dataset)
        bounds = params.review_within, params.group_within
        links = links_of(hashes, mirrored, *bounds, search)
    if params.crop:
        crop = crop_links(hashes_of(dataset, contents.ids, CROP, spread))
        links = links._replace(crop=without(without(crop, links.near), links.mirror))
    return hashes, links


def table_of(
    samples: pa.Table, contents: Contents, marks: Marks, clusters: Ints, hashes: U64 | None
) -> pa.Table:
    """Return the rows of `dedupe.parquet`, one a sample in the order of the samples."""
    ids = samples["sample_id"].combine_chunks()
    n = contents.of.size
    return pa.table(
        {
            "sample_id": ids,
            "content_id": samples["content_id"].combine_chunks(),
            "label": samples["label"].combine_chunks(),
            "phash": pa.nulls(n, pa.uint64()) if hashes is None else hashes[contents.of],
            "cluster": clusters[contents.of],
            "keeper_id": ids.take(pa.array(marks.keeper)),
            "status": marks.status,
            "reason": marks.reason,
            "distance": marks.distance,
        },
        schema=pa.schema(list(SCHEMA.items())),
    )


def report_of(
    params: Dedupe, contents: Contents, marks: Marks, clusters: Ints, links: Links
) -> dict[str, Any]:
    """Return the metrics: counts of samples, of pairs by distance, of clusters."""
    reasons = Counter(marks.reason)
    in_conflict = np.array(marks.status) == "conflict"
    bits = links.near.distance
    sizes = np.bincount(clusters) if clusters.size else np.zeros(1, np.int64)
    report: dict[str, Any] = {
        "method": params.method if params.method == "exact" else PHASH.policy,
        "samples": len(marks.status),
        "kept": marks.status.count("keep"),
        "removed": {why: reasons[why] for why in ("same-bytes", "near-duplicate")},
        "conflicts": {
            "clusters": len(set(clusters[contents.of[in_conflict]].tolist())),
            "samples": int(in_conflict.sum()),
        },
        "distinct_contents": len(contents.ids),
        "clusters": {"of_several": int((sizes > 1).sum()), "largest": int(sizes.max())},
    }
    if params.method == "phash":
        removed, grouped = bits <= params.remove_within, bits <= params.group_within
        report["pairs"] = {
            "to_remove": int(removed.sum()),
            "to_group": int((grouped & ~removed).sum()),
            "to_review": int((~grouped).sum()),
        }
        if params.mirror:
            report["pairs"]["mirrored"] = int(links.mirror.a.size)
    if params.crop:
        report.setdefault("pairs", {})["crop"] = int(links.crop.a.size)
    return report


@click.command(cls=Stage)
@click.argument("dataset")
def main(dataset: str) -> None:
    """Mark near-duplicate pictures and label conflicts.

    Deletes nothing: every sample gets a status and a reason, and every removed one its keeper.

    \b
    Example:
      python -m pipeline.dedupe dances
    """
    everything = load_params()
    params: Dedupe = section(everything.dedupe, dataset, "dedupe")
    samples = read_samples(dataset, COLUMNS)
    contents = contents_of(samples)
    hashes, links = None, Links()
    if params.method == "phash" or params.crop:
        with workers(everything.compute) as cluster:
            hashes, links = linked(dataset, contents, params, cluster)
    marks = mark(samples, contents, links.near, params.remove_within)
    clusters = clusters_of(len(contents.ids), links, params.group_within)
    table = table_of(samples, contents, marks, clusters, hashes)
    table = table.replace_schema_metadata({"policy": params.model_dump_json()})
    with replacing(dataset_folder(dataset) / "dedupe.parquet") as temporary:
        pq.write_table(table, temporary, compression="zstd")
    write_links(dataset, links_table(samples, contents, links))
    write_json(
        reports_folder(dataset) / "dedupe.json",
        report_of(params, contents, marks, clusters, links),
    )


if __name__ == "__main__":
    main()
