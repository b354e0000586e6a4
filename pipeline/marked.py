"""A dataset as dedupe left it, read for those who go on from there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.duplicates import Contents, Ints, contents_of
from pipeline.errors import PipelineError
from pipeline.links import Links, read_links
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
    return Marked(samples, contents, read_links(dataset, samples, contents), clusters, policy)
