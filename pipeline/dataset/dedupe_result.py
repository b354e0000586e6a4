"""dedupe.parquet: which samples to keep, and the keeper of each sample that is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline.core.params import Dedupe
from pipeline.dataset.arrivals import read_arrivals
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
from pipeline.dataset.contents import Contents, Ints, contents_of
from pipeline.dataset.pairs_table import Edges, Pairs, clusters_of, read_edges
from pipeline.dataset.paths import dedupe_path
from pipeline.dataset.samples import read_samples
from pipeline.dataset.tables import damaged, read_parquet, write_parquet

# values of STATUS
KEEP = "keep"
REMOVE = "remove"
CONFLICT = "conflict"
# values of REASON; a kept sample has none
SAME_BYTES = "same-bytes"
NEAR_DUPLICATE = "near-duplicate"
LABEL_CONFLICT = "label-conflict"
DELETED = "deleted"

SCHEMA = pa.schema(
    {
        SAMPLE_ID: pa.string(),
        CONTENT_ID: pa.string(),
        LABEL: pa.string(),
        PHASH: pa.uint64(),  # null if the method is exact
        CLUSTER: pa.int64(),  # samples of one cluster must not be in different parts
        KEEPER_ID: pa.string(),  # the sample's own id if it is kept
        STATUS: pa.string(),
        REASON: pa.string(),
        DISTANCE: pa.int32(),  # Hamming distance to the keeper, in bits
    }
)
_POLICY = "policy"  # key in the file's metadata; holds the params of dedupe as JSON


@dataclass(frozen=True)
class DedupeResult:
    """The result of dedupe for n samples: their contents, edges and clusters, and the params."""

    samples: pa.Table
    contents: Contents
    edges: Edges
    clusters: Ints  # (n,) number of each sample's cluster
    policy: Dedupe
    arrived: Ints  # (n,) run of split that first saw each sample

    def where(self, is_kept: NDArray[np.bool_]) -> DedupeResult:
        """Return the result for samples whose `is_kept` (n,) is true, as if no others existed."""
        samples = self.samples.filter(pa.array(is_kept))
        contents = contents_of(samples)
        number = np.full(len(self.contents.ids), -1)  # new index of each content that is kept
        number[self.contents.of[is_kept]] = contents.of
        edges = Edges(*(_renumbered(pairs, number) for pairs in self.edges))
        clusters = clusters_of(len(contents.ids), edges, self.policy.group_within)
        arrived = self.arrived[is_kept]
        return DedupeResult(samples, contents, edges, clusters[contents.of], self.policy, arrived)


def _renumbered(pairs: Pairs, number: Ints) -> Pairs:
    kept = pairs.where((number[pairs.a] >= 0) & (number[pairs.b] >= 0))
    return kept._replace(a=number[kept.a], b=number[kept.b])


def write_marks(dataset: str, table: pa.Table, policy: Dedupe) -> None:
    """Write dedupe.parquet: `table` has the columns of SCHEMA and one row for each sample."""
    table = table.replace_schema_metadata({_POLICY: policy.model_dump_json()})
    write_parquet(dedupe_path(dataset), table)


def read_marks(dataset: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Return dedupe.parquet as a table, all columns or the named ones.

    Raises PipelineError if it is missing or damaged.
    """
    return read_parquet(dedupe_path(dataset), SCHEMA, "dedupe", columns)


def read_policy(dataset: str) -> Dedupe:
    """Return the params that dedupe.parquet was made with.

    Raises PipelineError if the file is missing or damaged.
    """
    return _policy_of(dataset, read_marks(dataset, [SAMPLE_ID]))


def _policy_of(dataset: str, table: pa.Table) -> Dedupe:
    try:
        return Dedupe.model_validate_json(table.schema.metadata[_POLICY.encode()])
    except (KeyError, TypeError, ValidationError) as error:
        raise damaged(dedupe_path(dataset), error) from error


def read_dedupe_result(dataset: str) -> DedupeResult:
    """Return the result of dedupe for a dataset.

    Raises PipelineError if a table is missing or damaged, or if they describe different samples.
    """
    samples = read_samples(dataset, images=False)
    table = read_marks(dataset)
    policy = _policy_of(dataset, table)
    if not table[SAMPLE_ID].equals(samples[SAMPLE_ID]):
        raise damaged(dedupe_path(dataset), "its samples are not those of samples.parquet")
    contents = contents_of(samples)
    arrived = read_arrivals(dataset, contents.ids)[contents.of]
    edges = read_edges(dataset, samples, contents)
    return DedupeResult(samples, contents, edges, np.asarray(table[CLUSTER]), policy, arrived)
