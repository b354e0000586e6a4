"""Inputs to a network: encoded images, decoded once into uint8 arrays of equal shape.

`export.pkl` contains the code of `prepare` and of what it calls, so these import only Pillow and
numpy.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.core.errors import PipelineError
from pipeline.core.files import replacing
from pipeline.core.progress import Progress
from pipeline.dataset.columns import CONTENT_ID, SAMPLE_ID
from pipeline.dataset.paths import cache_folder, samples_path
from pipeline.dataset.samples import read_samples
from pipeline.dataset.stored_images import image_batches

Pixels = NDArray[np.uint8]

DECODED_AT_ONCE = 512  # encoded images in the threads' queue; bounds memory, not speed


@dataclass(frozen=True)
class View:
    """How an image is prepared for a network; stored with the model.

    `size` and `margin` are in pixels. `trim` crops an empty border. `invert` turns dark ink on
    light paper into bright ink on black, so that padding looks like paper.
    """

    size: int
    channels: Literal[1, 3] = 3
    fit: Literal["crop", "pad", "squish"] = "crop"
    margin: int = 0
    trim: bool = False
    invert: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return self.channels, self.size, self.size


class DecodedImages(NamedTuple):
    """Decoded images, and the aspect ratio of each before squishing."""

    pixels: Pixels  # (count, channels, side, side)
    aspects: NDArray[np.float32]  # (count,) width / height before squishing; 1 if not squished


def prepare(image: Image.Image, view: View, whole: int = 0) -> tuple[Pixels, float]:
    """Return an image as (channels, side, side), and its aspect ratio before squishing.

    If the view crops and `whole` is not 0, the image is not cropped but squished to a side of
    `whole` pixels, so that training can take random crops.
    """
    image = image.convert("L" if view.channels == 1 else "RGB")
    if view.invert:
        image = ImageOps.invert(image)
    if view.trim:
        ink = image.convert("L").point(lambda value: 255 * (value >= 128))
        image = image.crop(ink.getbbox())  # an empty image has no bounding box, and is not cropped
    width, height = image.size
    inner = view.size - 2 * view.margin
    box: tuple[float, float, float, float] = (0, 0, width, height)
    target, aspect = (inner, inner), 1.0
    if view.fit == "pad":
        scale = inner / max(width, height)
        target = (max(1, round(width * scale)), max(1, round(height * scale)))
    elif view.fit == "crop" and whole:
        target, aspect = (whole, whole), width / height
    elif view.fit == "crop":
        side = min(width, height)
        left, top = (width - side) / 2, (height - side) / 2
        box = (left, top, left + side, top + side)
    # BOX averages over areas, so that thin ink is kept; but it does not enlarge smoothly.
    shrinks = target[0] <= box[2] - box[0] and target[1] <= box[3] - box[1]
    method = Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR
    image = image.resize(target, method, box=box)
    if not (view.fit == "crop" and whole) and target != (view.size, view.size):
        canvas = Image.new(image.mode, (view.size, view.size))
        canvas.paste(image, ((view.size - target[0]) // 2, (view.size - target[1]) // 2))
        image = canvas
    array = np.array(image)  # a copy: Pillow's array is read-only
    return np.ascontiguousarray(
        array[None] if view.channels == 1 else array.transpose(2, 0, 1)
    ), aspect


def decode(data: bytes, view: View, whole: int = 0) -> tuple[Pixels, float]:
    """Decode and prepare an encoded image; JPEGs are decoded no larger than needed."""
    with Image.open(io.BytesIO(data)) as image:
        needed = 2 * max(view.size, whole)
        image.draft("RGB", (needed, needed))
        return prepare(image, view, whole)


def decoded_images(
    dataset: str, part: str, sample_ids: Sequence[str], view: View, whole: int = 0
) -> DecodedImages:
    """Return the decoded images of samples, in order. A repeated call memory-maps the cached file.

    `part` names the cache below data/<dataset>/cache/, which keeps one file per part. Raises
    PipelineError if a sample is missing or cannot be decoded, or if the disk is too full.
    """
    whole = whole if view.fit == "crop" else 0
    side = whole or view.size
    path = cache_folder(dataset) / f"{part}-{_key(dataset, sample_ids, view, whole)}"
    pixels_path, aspects_path = path.with_suffix(".pixels.npy"), path.with_suffix(".aspects.npy")
    if not (pixels_path.exists() and aspects_path.exists()):
        for old in pixels_path.parent.glob(f"{part}-*.npy"):
            old.unlink()
        shape = (len(sample_ids), view.channels, side, side)
        pixels_path.parent.mkdir(parents=True, exist_ok=True)
        needed, free = math.prod(shape), shutil.disk_usage(pixels_path.parent).free
        if needed > free:  # writing to a mapped file on a full disk kills the process
            raise PipelineError(
                f"{pixels_path.parent}: disk is too full: the decoded images of {part} take "
                f"{needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; lower size, or free disk "
                "space"
            )
        with replacing(pixels_path) as temporary:
            pixels = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
            aspects = _decode_all(dataset, part, sample_ids, pixels, view=view, whole=whole)
            pixels.flush()
            with replacing(aspects_path) as beside, beside.open("wb") as file:
                np.save(file, aspects)
    return DecodedImages(np.load(pixels_path, mmap_mode="r"), np.load(aspects_path))


def _decode_all(
    dataset: str, part: str, sample_ids: Sequence[str], into: Pixels, *, view: View, whole: int
) -> NDArray[np.float32]:
    aspects = np.ones(len(sample_ids), np.float32)
    places = {sample_id: place for place, sample_id in enumerate(sample_ids)}

    def put(item: tuple[str, bytes]) -> str:
        sample_id, data = item
        try:
            into[places[sample_id]], aspects[places[sample_id]] = decode(data, view, whole)
        except (OSError, ValueError, SyntaxError) as error:
            raise PipelineError(
                f"{samples_path(dataset)}: image of sample {sample_id} cannot be decoded: {error}"
            ) from error
        return sample_id

    left = set(places)
    with ThreadPoolExecutor() as pool, Progress(f"decode {part}", len(places)) as progress:
        for batch in image_batches(dataset, DECODED_AT_ONCE):
            wanted = [item for item in batch if item[0] in places]
            for sample_id in pool.map(put, wanted):
                left.discard(sample_id)
                progress.advance()
    if left:
        raise PipelineError(
            f"{samples_path(dataset)}: sample {min(left)} of split.csv is missing; run `dvc repro`"
        )
    return aspects


def _key(dataset: str, sample_ids: Sequence[str], view: View, whole: int) -> str:
    """Return a hash of everything that the cached arrays depend on."""
    content = read_samples(dataset, [SAMPLE_ID, CONTENT_ID])
    ids = dict(zip(content[SAMPLE_ID].to_pylist(), content[CONTENT_ID].to_pylist(), strict=True))
    made_from = [asdict(view), whole, [(name, ids.get(name)) for name in sample_ids]]
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]
