"""What is fuzzed: readers of bytes from outside, and what must hold whatever the bytes are.

Only Rejected may leave a reader. What it accepted must be drawn and stored, too.
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

LARGEST = 64 * 1024  # bytes of a case; speed and memory grow in proportion beyond
RENDERER = Renderer()
INCLUDED = {
    "include/a.doc": b".COORD X Y T\n.X_POINTS_PER_INCH 100\n.INCLUDE b.dat\n",
    "include/b.dat": b".PEN_DOWN\n1 2 3\n4 5 6\n.PEN_UP\n",
}


def pens(data: bytes) -> None:
    """Read a pen file that may include others and itself; write it again; draw it."""
    try:
        pen = parse(data, finder(INCLUDED | {"include/self.dat": data}), "data/x.dat")
    except Rejected as verdict:
        check(verdict)
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


def pictures(data: bytes) -> None:
    """Read a picture file; where the quick way read it, Pillow must agree."""
    quick = read_tiff(data, 4096)
    if quick is not None:
        with Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
            slow = Bitmap.of(np.asarray(image.convert("1")))
        assert quick.content_id == slow.content_id
    try:
        picture = read_image(data)
    except Rejected as verdict:
        check(verdict)
        return
    with Image.open(io.BytesIO(picture.png)) as image:
        image.load()
        assert image.size == picture.size and image.format == "PNG"


def check(verdict: Rejected) -> None:
    """A reason is a word that can be counted, a detail one line of bounded length."""
    assert verdict.reason.replace("-", "").isalpha()
    assert verdict.detail.isprintable() and len(verdict.detail) < 500


TARGETS: dict[str, Callable[[bytes], None]] = {"pens": pens, "pictures": pictures}
