"""A dataset as dedupe left it, read for those who go on from there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.arrivals import read_arrivals
from pipeline.duplicates import Contents, Ints, contents_of
from pipeline.errors import PipelineError
from pipeline.links import Links, clusters_of, read_links
from pipeline.pairs import Pairs
from pipeline.params import Dedupe
from pipeline.samples import dataset_folder, read_samples


@dataclass(frozen=True)
class Marked:
    """A dataset as dedupe left it: samples, their contents, links, clusters and its params."""

    samples: pa.Table
    contents: Contents
    links: Links
    clusters: Ints  # (n,) of samples
    policy: Dedupe
    arrived: Ints  # (n,) of samples, by the dataset's own count

    def where(self, is_kept: NDArray[np.bool_]) -> Marked:
        """Return some of the samples (n,), as if there were no others."""
        samples = self.samples.filter(pa.array(is_kept))
        contents = contents_of(samples)
        number = np.full(len(self.contents.ids), -1)  # of each content among those kept
        number[self.contents.of[is_kept]] = contents.of
        links = Links(*(_renumbered(pairs, number) for pairs in self.links))
        clusters = clusters_of(len(contents.ids), links, self.policy.group_within)
        arrived = self.arrived[is_kept]
        return Marked(samples, contents, links, clusters[contents.of], self.policy, arrived)


def _renumbered(pairs: Pairs, number: Ints) -> Pairs:
    kept = pairs.where((number[pairs.a] >= 0) & (number[pairs.b] >= 0))
    return kept._replace(a=number[kept.a], b=number[kept.b])


def read_marked(dataset: str) -> Marked:
    """Read what dedupe left of a dataset.

    Raises PipelineError when a table is missing or they are not of the same samples.
    """
    samples = read_samples(dataset, images=False)
    path = dataset_folder(dataset) / "dedupe.parquet"
    try:
        table = pq.read_table(path)
        policy = Dedupe.model_validate_json(table.schema.metadata[b"policy"])
        clusters = np.asarray(table["cluster"])
        same = table["sample_id"].equals(samples["sample_id"])
    except FileNotFoundError as error:
        raise PipelineError(f"{path}: no such file; run `dvc repro dedupe@{dataset}`") from error
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise PipelineError(f"{path}: not a table of dedupe: {error}") from error
    if not same:
        raise PipelineError(f"{path}: of other samples; run dedupe again")
    contents = contents_of(samples)
    arrived = read_arrivals(dataset, contents.ids)[contents.of]
    links = read_links(dataset, samples, contents)
    return Marked(samples, contents, links, clusters, policy, arrived)
