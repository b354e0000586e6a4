"""Ingest images on Dask: workers get paths and write shards of images and rejections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.core.errors import Rejected
from pipeline.dataset.columns import CONTENT_ID
from pipeline.dataset.ingest import IngestedImage, ingest_image
from pipeline.images.decode import ImageInfo
from pipeline.images.normalise import Normalised
from pipeline.scale.dask import Cluster
from pipeline.scale.shards import shard_at, take_shard, write_shard

FILES_PER_SHARD = 250  # seconds of work, tens of megabytes

# A row holds the fields of IngestedImage, Normalised and ImageInfo, nested as `asdict` nests them,
# or a rejection.
_INFO = pa.struct(
    [
        ("format", pa.string()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("frames", pa.int64()),
        ("mode", pa.string()),
    ]
)
_NORMALISED = pa.struct(
    [
        ("data", pa.binary()),
        ("format", pa.string()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("info", _INFO),
        ("notes", pa.list_(pa.string())),
    ]
)
_SCHEMA = pa.schema(
    [
        (CONTENT_ID, pa.string()),
        ("size", pa.int64()),
        ("normalised", _NORMALISED),
        ("reason", pa.string()),  # null: not rejected
        ("detail", pa.string()),
    ]
)


def ingest_on(
    cluster: Cluster, dataset: str, files: Sequence[Path], max_side: int, max_pixels: int
) -> Iterator[IngestedImage | Rejected]:
    """Yield what `ingest_image` returns for each file, in order.

    The workers must be able to read the files.
    """
    with cluster.scratch(dataset, "images") as url:
        paths = [path.absolute() for path in files]
        jobs = (
            (shard_at(url, number), paths[start : start + FILES_PER_SHARD], max_side, max_pixels)
            for number, start in enumerate(range(0, len(files), FILES_PER_SHARD))
        )
        for shard in cluster.map_jobs(ingest_shard, jobs):
            yield from map(_from_row, take_shard(shard).to_pylist())


def ingest_shard(shard: str, files: Sequence[Path], max_side: int, max_pixels: int) -> str:
    """Ingest files on a worker, write them into a shard, and return its URL."""
    images = (ingest_image(path.read_bytes(), max_side, max_pixels=max_pixels) for path in files)
    table = pa.Table.from_pylist([_to_row(image) for image in images], schema=_SCHEMA)
    write_shard(shard, table)
    return shard


def _to_row(image: IngestedImage | Rejected) -> dict[str, Any]:
    if isinstance(image, Rejected):
        return {"reason": image.reason, "detail": image.detail}
    return asdict(image)


def _from_row(row: dict[str, Any]) -> IngestedImage | Rejected:
    if row["reason"] is not None:
        return Rejected(row["reason"], row["detail"])
    fields = row["normalised"]
    info, notes = ImageInfo(**fields.pop("info")), tuple(fields.pop("notes"))
    normalised = Normalised(**fields, info=info, notes=notes)
    return IngestedImage(row[CONTENT_ID], row["size"], normalised)
