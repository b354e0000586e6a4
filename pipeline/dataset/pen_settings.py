"""The settings that `convert` drew pen files with; samples.parquet and models keep them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import pyarrow.parquet as pq

from pipeline.dataset.samples import existing_samples

_KEY = "drawing"  # in the metadata of samples.parquet and in model.json


@dataclass(frozen=True, slots=True)
class PenSettings:
    """How pen files are drawn as images; `pipeline.convert.render` explains the settings."""

    dpi: float = 250  # dots per inch of the image
    pen_width: int = 2  # pixels
    y_axis: str = "down"  # or "up": the direction in which y grows in the pen files

    @property
    def metadata(self) -> dict[str, str]:
        """The entry for the metadata of samples.parquet."""
        return {_KEY: json.dumps(asdict(self))}


def read_pen_settings(dataset: str) -> PenSettings | None:
    """Return the settings in a dataset's samples; None if it has no pen files.

    Raises PipelineError if the file of samples is missing.
    """
    settings = pq.read_schema(existing_samples(dataset)).metadata.get(_KEY.encode())
    return None if settings is None else PenSettings(**json.loads(settings))
