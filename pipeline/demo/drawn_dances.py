"""Dances drawn on demand, with planted faults: what a search finds, and what its hosts answer."""

from __future__ import annotations

import html
import io
import random
import re
import struct
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from PIL import Image

from pipeline.demo import figures
from pipeline.demo.world import IMAGE_HOSTS, INTRANET, Answer, Gallery, Hit, Plant, Url

MOVED = {"manipuri": "jagoi", "bharatanatyam": "bharathanatyam"}  # other names people search by

MAIN, STAGE = 40, 16  # sound pictures of a dance that its name finds, and that "... stage" finds
SUFFIXES = (".jpg", ".jpg", ".jpg?w=800", ".png", ".jpeg", ".webp", "")  # as they are on the web
LATE = (9, 10)  # pictures that come only at the second try
STORED = ("near copy, rescaled", "near copy, recompressed", "one picture, two labels")

Site = dict[tuple[str, str], Answer]


@dataclass(frozen=True)
class DrawnDances:
    """Dances drawn when they are first asked for, the same for the same seed."""

    seed: int
    _drawn: dict[str, Gallery] = field(default_factory=dict, compare=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, compare=False)

    def find(self, query: str) -> str | None:
        """Return the dance whose name is a word of the query."""
        for word in re.findall(r"[\w-]+", query.lower()):
            name = MOVED.get(word, word)
            if name in figures.STYLES:
                return name
        return None

    def gallery(self, key: str) -> Gallery | None:
        """Draw a dance, once."""
        if key not in figures.STYLES:
            return None
        with self._lock:  # sixteen downloads at once must not draw it sixteen times
            if key not in self._drawn:
                self._drawn[key] = draw_gallery(key, self.seed)
            return self._drawn[key]


def picture(dance: str, index: int, seed: int) -> Image.Image:
    """Draw the picture of a dance with this number."""
    return figures.draw(figures.STYLES[dance], random.Random(f"{seed}/{dance}/{index}"))


def picture_url(dance: str, index: int) -> Url:
    """Return where the picture with this number is."""
    name = f"dancer-{index:03}{SUFFIXES[index % len(SUFFIXES)]}"
    return Url(IMAGE_HOSTS[index % len(IMAGE_HOSTS)], f"/{dance}/{name}")


def lender(dance: str) -> tuple[str, int]:
    """Return whose picture, and which, also stands under this dance's name.

    The first four, the demo's own, lend in a ring; a dance added later borrows from the first.
    """
    at = list(figures.STYLES).index(dance)
    return list(figures.STYLES)[(at - 1) % 4 if at < 4 else 0], at + 1


def draw_gallery(dance: str, seed: int) -> Gallery:
    """Draw all pictures of a dance and plant what is wrong with some."""
    pictures = [picture(dance, index, seed) for index in range(MAIN + STAGE)]
    urls = [picture_url(dance, index) for index in range(MAIN + STAGE)]
    site: Site = {}
    for url, image in zip(urls, pictures, strict=True):
        site[url.host, url.path] = encoded(image, url.path)
    plants = []
    for plant, answer in _faults(dance, seed, pictures, site):
        plants.append(plant)
        if answer is not None:
            site[plant.url.host, plant.url.path] = answer
    # One has moved to another host since the search engine saw it; nothing is wrong with that.
    urls[0], there = Url(IMAGE_HOSTS[1], f"/{dance}/old/dancer.jpg"), urls[0]
    site[urls[0].host, urls[0].path] = Answer(location=there)

    wrong = [plant.url for plant in plants if plant.url not in urls]
    main = _interleaved(urls[:MAIN], wrong[::2])
    stage = _interleaved(urls[MAIN:], wrong[1::2])
    page_of = _pages(dance, [*main, *stage], site)

    def hits(shelf: Sequence[Url]) -> tuple[Hit, ...]:
        return tuple(
            Hit(url, page_of[url], f"{dance.title()} dancer {n}") for n, url in enumerate(shelf, 1)
        )

    touched = {plant.twin for plant in plants}
    touched |= {picture_url(*lender(other)) for other in figures.STYLES}
    sound = tuple(url for url in urls if url not in touched)
    storable = len(urls) + sum(plant.fault in STORED for plant in plants)
    return Gallery(hits(main), hits(stage), site, storable, tuple(plants), sound)


def _faults(
    dance: str, seed: int, pictures: Sequence[Image.Image], site: Site
) -> Iterator[tuple[Plant, Answer | None]]:
    """Give each fault of a dance with what its address answers (None: nothing is there)."""

    def plant(fault: str, name: str, twin: Url | None = None, twin_dance: str = dance) -> Plant:
        host = IMAGE_HOSTS[len(name) % len(IMAGE_HOSTS)]
        return Plant(fault, dance, Url(host, f"/{dance}/{name}.jpg"), twin, twin_dance)

    for index in LATE:
        url = picture_url(dance, index)
        late = replace(site[url.host, url.path], stumbles="503")
        yield Plant("503 that recovers", dance, url), late
    for index in (20, 45):
        twin = picture_url(dance, index)
        yield plant("same bytes", f"repost-{index}", twin), site[twin.host, twin.path]
    for index in (22, 46):
        width, height = pictures[index].size
        small = pictures[index].resize((width * 2 // 3, height * 2 // 3))
        twin = picture_url(dance, index)
        yield plant("near copy, rescaled", f"thumbnail-{index}", twin), encoded(small)
    for index in (24, 47):
        twin = picture_url(dance, index)
        poor = encoded(pictures[index], quality=45)
        yield plant("near copy, recompressed", f"forwarded-{index}", twin), poor
    owner, index = lender(dance)
    lent = picture_url(owner, index)
    misnamed = plant("one picture, two labels", f"misnamed-{index}", lent, owner)
    yield misnamed, encoded(picture(owner, index, seed), lent.path)
    page = b"<!DOCTYPE html><html><title>Not here any more</title></html>"
    yield plant("HTML named .jpg", "gone-1"), Answer(page, "text/html")
    yield plant("HTML named .jpg", "gone-22"), Answer(page + b"\n", "image/jpeg")
    for index in (MAIN + STAGE, MAIN + STAGE + 1):
        whole = figures.jpeg(picture(dance, index, seed))
        yield plant("truncated JPEG", f"half-{index}"), Answer(whole[: len(whole) * 3 // 5])
    yield plant("decompression bomb", "huge"), Answer(bomb(), "image/png")
    yield plant("404", "missing-1"), None
    yield plant("404", "missing-22"), None
    private = encoded(picture(dance, MAIN + STAGE + 2, seed))
    yield plant("robots.txt says no", "private/dancer"), private
    kept_back = replace(private, headers=(("X-Robots-Tag", "noai"),))
    yield plant("X-Robots-Tag says no", "not-for-learning"), kept_back
    inside = Answer(location=Url(INTRANET, "/secret.jpg"))
    yield plant("redirect to a private address", "shortcut-1"), inside
    metadata = Answer(location="http://169.254.169.254/latest/meta-data/")
    yield plant("redirect to a private address", "shortcut-22"), metadata


def bomb(side: int = 40_000) -> bytes:
    """Return a PNG of a few bytes whose header promises `side` x `side` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def encoded(image: Image.Image, path: str = "", quality: int = 88) -> Answer:
    """Encode a picture in the format that its path's suffix promises, JPEG by default."""
    suffix = path.rpartition(".")[2].partition("?")[0]
    if suffix not in ("png", "webp"):
        return Answer(figures.jpeg(image, quality), "image/jpeg")
    buffer = io.BytesIO()
    image.save(buffer, suffix.upper(), quality=quality)
    return Answer(buffer.getvalue(), f"image/{suffix}")


def _interleaved(sound: Sequence[Url], wrong: Sequence[Url]) -> list[Url]:
    """Put a wrong one behind every sound one while there are any: early, so that all are met."""
    mixed: list[Url] = []
    for index, url in enumerate(sound):
        mixed.append(url)
        mixed += wrong[index : index + 1]
    return mixed


def _pages(dance: str, images: Sequence[Url], site: Site) -> Mapping[Url, Url]:
    """Put two pictures on a page, as events have several; return each picture's page."""
    page_of = {}
    for index in range(0, len(images), 2):
        page = Url(IMAGE_HOSTS[index % len(IMAGE_HOSTS)], f"/{dance}/page-{index // 2}.html")
        shown = images[index : index + 2]
        names = ", ".join(html.escape(image.path) for image in shown)
        text = f"<!DOCTYPE html><title>{dance}</title><p>Pictures: {names}</p>\n"
        site[page.host, page.path] = Answer(text.encode(), "text/html; charset=utf-8")
        page_of.update(dict.fromkeys(shown, page))
    return page_of
