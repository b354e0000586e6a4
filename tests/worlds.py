"""Draw a dataset for training: visibly different classes, in samples.parquet and split.csv."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from pipeline.dataset.samples import writing_samples

SHAPES = ("disc", "cross", "bars", "ring")


def draw_shape(label: str, seed: int, size: tuple[int, int] = (48, 40)) -> bytes:
    """Return a PNG of the shape of a class, at a random place and in random colours."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(int(v) for v in rng.integers(200, 256, 3)))
    pen = ImageDraw.Draw(image)
    colour = tuple(int(v) for v in rng.integers(0, 90, 3))
    radius = int(rng.integers(9, 14))
    x, y = (int(rng.integers(radius, side - radius)) for side in size)
    box = (x - radius, y - radius, x + radius, y + radius)
    if label == "disc":
        pen.ellipse(box, fill=colour)
    elif label == "ring":
        pen.ellipse(box, outline=colour, width=3)
    elif label == "cross":
        pen.line((x - radius, y, x + radius, y), fill=colour, width=4)
        pen.line((x, y - radius, x, y + radius), fill=colour, width=4)
    else:
        for shift in (-8, 0, 8):
            pen.line((x + shift, y - radius, x + shift, y + radius), fill=colour, width=3)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def write_world(
    root: Path,
    dataset: str,
    counts: Mapping[str, Mapping[str, int]],
    *,
    size: tuple[int, int] = (48, 40),
    vary_size: bool = False,
    about: Mapping[str, str] | None = None,
) -> None:
    """Write a dataset.

    `counts` is the number of samples by label and part; `about` is metadata of samples.parquet.
    """
    folder = root / "data" / dataset
    folder.mkdir(parents=True, exist_ok=True)
    rows, seed = [], 0
    with writing_samples(folder / "samples.parquet", about=about) as writer:
        for label, parts in counts.items():
            for part, count in parts.items():
                for _ in range(count):
                    seed += 1
                    shape = (40 + seed % 37, 40 + seed % 23) if vary_size else size
                    data = draw_shape(label, seed, shape)
                    sample_id, content = f"{label}/{seed:04}", hashlib.sha256(data).hexdigest()
                    writer.add(
                        {
                            "sample_id": sample_id,
                            "content_id": content,
                            "image": {"bytes": data, "path": None},
                            "label": label,
                            "label_name": label.title(),
                            "width": shape[0],
                            "height": shape[1],
                        }
                    )
                    rows.append((sample_id, content, label, part, f"writer{seed % 5}", ""))
    with (folder / "split.csv").open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("sample_id", "content_id", "label", "part", "group", "reason"))
        out.writerows(rows)
