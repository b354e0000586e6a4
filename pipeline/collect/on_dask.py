"""Pictures taken in on a cluster: paths go out, shards of pictures and verdicts come back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.core.errors import Rejected
from pipeline.dataset.ingest import IngestedImage, ingest_image
from pipeline.images.decode import ImageInfo
from pipeline.images.normalise import Normalised
from pipeline.scale.dask import Cluster
from pipeline.scale.shards import shard_at, take_shard, write_shard

FILES = 250  # a shard: seconds of work, tens of megabytes

# The fields of IngestedImage, Normalised and ImageInfo, as `asdict` nests them; or a verdict.
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
        ("content_id", pa.string()),
        ("size", pa.int64()),
        ("normalised", _NORMALISED),
        ("reason", pa.string()),  # null: taken in
        ("detail", pa.string()),
    ]
)


def pictures_on(
    cluster: Cluster, dataset: str, files: Sequence[Path], max_side: int, max_pixels: int
) -> Iterator[IngestedImage | Rejected]:
    """Take files in by `intake.ingest_image`, on workers that see them, in their order."""
    with cluster.scratch(dataset, "pictures") as url:
        paths = [path.absolute() for path in files]
        jobs = (
            (shard_at(url, number), paths[start : start + FILES], max_side, max_pixels)
            for number, start in enumerate(range(0, len(files), FILES))
        )
        for shard in cluster.map_jobs(take_in_shard, jobs):
            yield from map(_read, take_shard(shard).to_pylist())


def take_in_shard(shard: str, files: Sequence[Path], max_side: int, max_pixels: int) -> str:
    """Take files in on a worker into a shard, and return it."""
    verdicts = [ingest_image(path.read_bytes(), max_side, max_pixels=max_pixels) for path in files]
    table = pa.Table.from_pylist([_written(verdict) for verdict in verdicts], schema=_SCHEMA)
    write_shard(shard, table)
    return shard


def _written(picture: IngestedImage | Rejected) -> dict[str, Any]:
    if isinstance(picture, Rejected):
        return {"reason": picture.reason, "detail": picture.detail}
    return asdict(picture)


def _read(row: dict[str, Any]) -> IngestedImage | Rejected:
    if row["reason"] is not None:
        return Rejected(row["reason"], row["detail"])
    fields = row["normalised"]
    info, notes = ImageInfo(**fields.pop("info")), tuple(fields.pop("notes"))
    return IngestedImage(
        row["content_id"], row["size"], Normalised(**fields, info=info, notes=notes)
    )
