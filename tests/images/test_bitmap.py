"""Bi-level images: Pillow opens their files and reads the same pixels."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from pipeline.images.bitmap import Bitmap, encode_tiff

pixels = hnp.arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40)))


@given(pixels)
def test_pixels_are_kept(is_white: npt.NDArray[np.bool_]) -> None:
    bitmap = Bitmap.of(is_white)
    assert np.array_equal(bitmap.is_white, is_white)
    assert (bitmap.height, bitmap.width) == is_white.shape
    assert bitmap.has_ink == (not is_white.all())


@given(pixels)
def test_files_open_as_bi_level_with_the_same_pixels(is_white: npt.NDArray[np.bool_]) -> None:
    for encode in (lambda bitmap: bitmap.png, encode_tiff):
        with Image.open(io.BytesIO(encode(Bitmap.of(is_white)))) as image:
            assert image.mode == "1"
            assert np.array_equal(np.asarray(image), is_white)


def test_an_image_larger_than_a_stored_block_opens() -> None:
    is_white = (
        np.random.default_rng(8).random((1000, 1500)) < 0.5
    )  # 188,000 bytes; a block has 65,535
    with Image.open(io.BytesIO(Bitmap.of(is_white).png)) as image:
        assert np.array_equal(np.asarray(image), is_white)


def test_the_content_id_depends_on_size_and_pixels() -> None:
    white = Bitmap.of(np.ones((2, 8), np.bool_))
    assert white.content_id == Bitmap.of(np.ones((2, 8), np.bool_)).content_id
    others = [np.ones((1, 16), np.bool_), np.ones((2, 7), np.bool_), np.zeros((2, 8), np.bool_)]
    assert len({white.content_id, *(Bitmap.of(other).content_id for other in others)}) == 4


def test_a_tiff_has_hp_s_layout() -> None:
    data = encode_tiff(Bitmap.of(np.eye(9, dtype=np.bool_)))
    with Image.open(io.BytesIO(data)) as image:
        tags = image.tag_v2  # type: ignore[attr-defined]
        assert data[:2] == b"MM"
        assert (tags[259], tags[262], tags[278]) == (1, 1, 9)  # raw, BlackIsZero, one strip
        assert tags[282] == tags[283] == pytest.approx(1)
        assert len(tags[273]) == 1
