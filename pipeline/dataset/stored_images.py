"""Read the image column of samples.parquet: encoded images by sample id or content id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.dataset.columns import CONTENT_ID, IMAGE, SAMPLE_ID
from pipeline.dataset.samples import existing_samples

BATCH = 64  # images held in memory at a time


def read_images(dataset: str, sample_ids: Sequence[str]) -> dict[str, bytes]:
    """Return the encoded images of samples by id; an id that no sample has is left out.

    Reads only the row groups that contain one of the samples. Raises PipelineError if the file of
    samples is missing.
    """
    wanted = pa.array(sample_ids, pa.string())
    found: dict[str, bytes] = {}
    with pq.ParquetFile(existing_samples(dataset)) as file:
        for number in range(file.num_row_groups):
            ids = file.read_row_group(number, columns=[SAMPLE_ID])[SAMPLE_ID]
            at = pc.indices_nonzero(pc.is_in(ids, wanted))
            if len(at):
                images = file.read_row_group(number, columns=[IMAGE])[IMAGE].take(at)
                named = zip(ids.take(at).to_pylist(), images.to_pylist(), strict=True)
                found |= {sample_id: image["bytes"] for sample_id, image in named}
    return found


def image_batches(dataset: str, size: int) -> Iterator[list[tuple[str, bytes]]]:
    """Yield all samples in order, in lists of `size` pairs (sample id, encoded image).

    Raises PipelineError if the file of samples is missing.
    """
    with pq.ParquetFile(existing_samples(dataset)) as file:
        for batch in file.iter_batches(size, columns=[SAMPLE_ID, IMAGE]):
            images = batch[IMAGE].field("bytes").to_pylist()
            yield list(zip(batch[SAMPLE_ID].to_pylist(), images, strict=True))


def content_ids(file: pq.ParquetFile, group: int) -> list[str]:
    """Return the content ids in one row group of an open samples file."""
    ids: list[str] = file.read_row_group(group, [CONTENT_ID])[CONTENT_ID].to_pylist()
    return ids


def images_by_content(
    file: pq.ParquetFile, groups: Iterable[int], wanted: set[str]
) -> Iterator[tuple[str, bytes]]:
    """Yield each wanted content once, as (content id, encoded image).

    Among the row `groups`, reads only those that contain a wanted content.
    """
    left = set(wanted)
    for group in groups:
        if left.isdisjoint(content_ids(file, group)):
            continue
        for batch in file.iter_batches(BATCH, [group], [CONTENT_ID, IMAGE]):
            column = batch[IMAGE].field("bytes")
            for name, data in zip(batch[CONTENT_ID].to_pylist(), column, strict=True):
                if name in left:
                    left.discard(name)
                    yield name, data.as_py()
