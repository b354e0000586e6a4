"""How pen files become pictures: what samples and models remember of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import pyarrow.parquet as pq

from pipeline.dataset.samples import existing_samples

_KEY = "drawing"  # in the metadata of samples.parquet


@dataclass(frozen=True, slots=True)
class PenSettings:
    """How pen files become pictures; `pipeline.convert.render` says what it means."""

    dpi: float = 250
    pen_width: int = 2  # pixels
    y_axis: str = "down"

    @property
    def metadata(self) -> dict[str, str]:
        """What the metadata of samples hold."""
        return {_KEY: json.dumps(asdict(self))}


def read_pen_settings(dataset: str) -> PenSettings | None:
    """Return how a dataset's pen files are drawn, as its samples tell; None: it has none."""
    told = pq.read_schema(existing_samples(dataset)).metadata.get(_KEY.encode())
    return None if told is None else PenSettings(**json.loads(told))
