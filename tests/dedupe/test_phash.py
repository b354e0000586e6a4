"""The perceptual hash equals imagehash's on small images and is near it on large ones."""

from __future__ import annotations

import io
from pathlib import Path

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pipeline.core.errors import Rejected
from pipeline.dedupe.phash import phash, phash_both
from pipeline.images.normalise import normalise
from tests.tables import drawn, encoded

MOST_BITS = 4  # from the hash of a full decode


def full(image: Image.Image) -> int:
    """Return imagehash's own hash of a fully decoded image."""
    return int(str(imagehash.phash(image)), 16)


@given(st.integers(0, 2**32), st.integers(8, 127), st.integers(8, 127))
def test_the_hash_of_a_small_image_equals_imagehash(seed: int, width: int, height: int) -> None:
    image = drawn(seed, (width, height))
    assert phash_both(encoded(image, "PNG")) == (full(image), full(ImageOps.mirror(image)))


# JPEG alone is decoded at a smaller scale; the other formats take the same path as each other.
@pytest.mark.parametrize(("kind", "count"), [("JPEG", 10), ("PNG", 2), ("WEBP", 3)])
@pytest.mark.parametrize("size", [(1200, 800), (300, 900), (513, 511)])
def test_the_hash_of_a_large_image_is_near_imagehash(
    kind: str, count: int, size: tuple[int, int]
) -> None:
    for seed in range(count):
        data = encoded(drawn(seed, size), kind, quality=92)
        with Image.open(io.BytesIO(data)) as image:
            wanted = full(image), full(ImageOps.mirror(image))
        found = phash_both(data)
        assert found[0] == phash(data)
        for one, other in zip(found, wanted, strict=True):
            assert (one ^ other).bit_count() <= MOST_BITS


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_mode_has_a_hash(mode: str) -> None:
    image = drawn(3, (200, 150))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    data = encoded(image, "TIFF" if mode == "CMYK" else "PNG")
    assert (phash(data) ^ phash(encoded(drawn(3, (200, 150)), "PNG"))).bit_count() <= MOST_BITS


def test_a_plain_image_has_a_hash_and_a_truncated_one_is_rejected() -> None:
    assert phash(encoded(Image.new("L", (300, 200), 99), "PNG")) == 1 << 63
    with pytest.raises(Rejected, match="truncated"):
        phash(encoded(drawn(0, (1200, 800)))[:9000])


def test_hashes_of_real_photos_are_near_those_of_a_full_decode(shared: Path) -> None:
    photos = sorted((shared / "dances").rglob("*.*"))[::20]
    assert len(photos) > 20
    for photo in photos:
        data = photo.read_bytes()
        with Image.open(io.BytesIO(data)) as image:
            wanted = full(image), full(ImageOps.mirror(image))
        stored = normalise(data, 512).data
        for found in (phash_both(data), phash_both(stored)):
            for one, other in zip(found, wanted, strict=True):
                assert (one ^ other).bit_count() <= MOST_BITS, photo.name
