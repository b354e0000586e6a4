"""Small tables of samples, and drawn images, for tests."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image, ImageDraw

from pipeline.dataset.paths import samples_path
from pipeline.dataset.samples import COLUMNS, writing_samples


def content(name: object) -> str:
    """Return a content id for a name."""
    return hashlib.sha256(str(name).encode()).hexdigest()


def sample(name: object, label: str = "a", **more: Any) -> dict[str, Any]:
    """Return a row of samples.parquet; its content id comes from `name` unless it is given."""
    return {
        "sample_id": f"{label}/{name}",
        "content_id": content(name),
        "image": {"bytes": b"", "path": "none.png"},
        "label": label,
        "label_name": label.upper(),
        "width": 30,
        "height": 40,
        **more,
    }


def table(rows: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Return rows as a table of samples without images."""
    wanted = {name: kind for name, kind in COLUMNS.items() if name != "image"}
    found = [{name: row.get(name) for name in wanted} for row in rows]
    return pa.Table.from_pylist(found, schema=pa.schema(list(wanted.items())))


def write(dataset: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as the samples of a dataset; return the path."""
    with writing_samples(samples_path(dataset)) as writer:
        for row in rows:
            writer.add(row)
    return samples_path(dataset)


def drawn(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Draw smooth light and a few shapes, different for each seed."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 255, (5, 6, 3)).astype(np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(6):
        x, y, radius = (
            int(random.integers(*ends)) for ends in ((0, size[0]), (0, size[1]), (10, 60))
        )
        colour = tuple(random.integers(0, 255, 3).tolist())
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return image


def shapes(width: int = 120, height: int = 80, mode: str = "RGB") -> Image.Image:
    """Draw a smooth image with two shapes; its corners all differ."""
    ramp = np.linspace(0, 255, width * height * 3).reshape(height, width, 3).astype(np.uint8)
    image = Image.fromarray(ramp)
    draw = ImageDraw.Draw(image)
    draw.ellipse((10, 10, width // 2, height // 2), fill=(200, 30, 60))
    draw.rectangle((width // 2, height // 2, width - 5, height - 9), fill=(20, 160, 90))
    return image.convert(mode)


def image_file(seed: int, width: int = 140, height: int = 100, kind: str = "JPEG") -> bytes:
    """Return the bytes of an image file; each seed gives other bytes."""
    image = shapes(width, height)
    image.paste((seed * 37 % 256, seed * 91 % 256, 60), (20, 20, 60, 60))
    return encoded(image, kind)


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """Return a PNG of a header and chunks, which need not be valid."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*each) for each in ((b"IHDR", header), *chunks, (b"IEND", b""))
    )


def lay(root: Path, files: Mapping[str, bytes]) -> None:
    """Write files by their path below `root`."""
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    """Return an image as the bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture(name: str, image: Image.Image, label: str = "a", **more: Any) -> dict[str, Any]:
    """Return a row with an image; its content id is the sha256 of the file."""
    options = {"quality": more.pop("quality", 92)}
    data = encoded(image, **options)
    return sample(
        name,
        label,
        content_id=hashlib.sha256(data).hexdigest(),
        image={"bytes": data, "path": f"{name}.jpg"},
        width=image.width,
        height=image.height,
        original_width=image.width,
        original_height=image.height,
        original_bytes=len(data),
        **more,
    )


def with_duplicates() -> list[dict[str, Any]]:
    """Return 13 rows of two classes: among them an exact copy, a near copy and a label conflict.

    "b/copy" has the bytes of "b/1", "a/near" is a small "a/0", "b/other" is a small "a/2".
    """
    rows = [picture(f"{n}", drawn(n), "ab"[n % 2]) for n in range(10)]
    rows.append(picture("near", drawn(0).resize((160, 120)), "a", quality=75))
    rows.append(rows[1] | {"sample_id": "b/copy"})
    rows.append(picture("other", drawn(2).resize((200, 150)), "b"))
    return rows
