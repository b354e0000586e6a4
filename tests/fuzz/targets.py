"""The fuzz targets: readers of untrusted bytes, and properties that hold for any bytes.

A reader may raise Rejected and nothing else. What it accepts must be drawable and storable.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from pipeline.convert.letters import read_image
from pipeline.convert.render import Outline, Renderer
from pipeline.convert.tiff import read_tiff
from pipeline.convert.unipen import finder, parse, write
from pipeline.core.errors import Rejected
from pipeline.images.bitmap import Bitmap

LARGEST = 64 * 1024  # bytes of a case; time and memory grow in proportion to the size
RENDERER = Renderer()
INCLUDED = {
    "include/a.doc": b".COORD X Y T\n.X_POINTS_PER_INCH 100\n.INCLUDE b.dat\n",
    "include/b.dat": b".PEN_DOWN\n1 2 3\n4 5 6\n.PEN_UP\n",
}


def pens(data: bytes) -> None:
    """Read a pen file that may include others and itself, write it, read it again, and draw it."""
    try:
        pen = parse(data, finder(INCLUDED | {"include/self.dat": data}), "data/x.dat")
    except Rejected as rejection:
        check(rejection)
        return
    assert parse(write(pen)) == pen
    for segment in pen.segments[:50]:
        ink = pen.ink(segment)
        assert ink is None or all(len(stroke) for stroke in ink)
    (drawn,) = RENDERER.draw([Outline(pen.strokes, pen.points_per_inch or (2500, 2500))])
    if isinstance(drawn, Rejected):
        check(drawn)
    else:
        assert drawn.has_ink and drawn.width >= 10 and drawn.height >= 10


def images(data: bytes) -> None:
    """Read an image file; if the fast reader accepts it, Pillow must read the same pixels."""
    fast = read_tiff(data, 4096)
    if fast is not None:
        with Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
            by_pillow = Bitmap.of(np.asarray(image.convert("1")))
        assert fast.content_id == by_pillow.content_id
    try:
        found = read_image(data)
    except Rejected as rejection:
        check(rejection)
        return
    with Image.open(io.BytesIO(found.png)) as image:
        image.load()
        assert image.size == found.size and image.format == "PNG"


def check(rejection: Rejected) -> None:
    """Assert that the reason is one word and the detail one short line."""
    assert rejection.reason.replace("-", "").isalpha()
    assert rejection.detail.isprintable() and len(rejection.detail) < 500


TARGETS: dict[str, Callable[[bytes], None]] = {"pens": pens, "images": images}
