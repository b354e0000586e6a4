"""Draw dances on demand and plant faults among their images."""

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
from pipeline.demo.world import IMAGE_HOSTS, INTRANET, Answer, Fault, Gallery, Hit, Plant, Url

SYNONYMS = {"manipuri": "jagoi", "bharatanatyam": "bharathanatyam"}  # in search queries

MAIN, STAGE = 40, 16  # images found by a search for the name, and by one with "stage"
SUFFIXES = (".jpg", ".jpg", ".jpg?w=800", ".png", ".jpeg", ".webp", "")  # as found on the web
LATE = (9, 10)  # numbers of the images that need a retry
STORED = (Fault.RESCALED, Fault.RECOMPRESSED, Fault.TWO_LABELS)

Site = dict[tuple[str, str], Answer]


@dataclass(frozen=True)
class DrawnDances:
    """Dances that are drawn when first requested; one seed always draws the same images."""

    seed: int
    _drawn: dict[str, Gallery] = field(default_factory=dict, compare=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, compare=False)

    def find(self, query: str) -> str | None:
        """Return the dance whose name is a word in the query; None if there is none."""
        for word in re.findall(r"[\w-]+", query.lower()):
            name = SYNONYMS.get(word, word)
            if name in figures.STYLES:
                return name
        return None

    def gallery(self, key: str) -> Gallery | None:
        """Return a dance's images, drawn on the first call; None if there is no such dance."""
        if key not in figures.STYLES:
            return None
        with self._lock:  # parallel requests must not draw it several times
            if key not in self._drawn:
                self._drawn[key] = draw_gallery(key, self.seed)
            return self._drawn[key]


def draw_image(dance: str, index: int, seed: int) -> Image.Image:
    """Draw image number `index` of a dance."""
    return figures.draw(figures.STYLES[dance], random.Random(f"{seed}/{dance}/{index}"))


def image_url(dance: str, index: int) -> Url:
    """Return the address of image number `index` of a dance."""
    name = f"dancer-{index:03}{SUFFIXES[index % len(SUFFIXES)]}"
    return Url(IMAGE_HOSTS[index % len(IMAGE_HOSTS)], f"/{dance}/{name}")


def mislabelled(dance: str) -> tuple[str, int]:
    """Return the dance and the number of the image that also appears under this dance's name.

    The demo's own four dances form a ring: each takes the image from the dance before it, and the
    first dance from the fourth. A dance that is added later takes it from the first.
    """
    at = list(figures.STYLES).index(dance)
    return list(figures.STYLES)[(at - 1) % 4 if at < 4 else 0], at + 1


def draw_gallery(dance: str, seed: int) -> Gallery:
    """Draw all images of a dance and plant its faults."""
    images = [draw_image(dance, index, seed) for index in range(MAIN + STAGE)]
    urls = [image_url(dance, index) for index in range(MAIN + STAGE)]
    site: Site = {}
    for url, image in zip(urls, images, strict=True):
        site[url.host, url.path] = encoded(image, url.path)
    plants = []
    for plant, answer in _faults(dance, seed, images, site):
        plants.append(plant)
        if answer is not None:
            site[plant.url.host, plant.url.path] = answer
    # One image has moved to another host since the search engine saw it: a redirect, not a fault.
    urls[0], there = Url(IMAGE_HOSTS[1], f"/{dance}/old/dancer.jpg"), urls[0]
    site[urls[0].host, urls[0].path] = Answer(location=there)

    faulty = [plant.url for plant in plants if plant.url not in urls]
    main = _interleaved(urls[:MAIN], faulty[::2])
    stage = _interleaved(urls[MAIN:], faulty[1::2])
    page_of = _pages(dance, [*main, *stage], site)

    def hits(shelf: Sequence[Url]) -> tuple[Hit, ...]:
        return tuple(
            Hit(url, page_of[url], f"{dance.title()} dancer {n}") for n, url in enumerate(shelf, 1)
        )

    touched = {plant.twin for plant in plants}
    touched |= {image_url(*mislabelled(other)) for other in figures.STYLES}
    sound = tuple(url for url in urls if url not in touched)
    storable = len(urls) + sum(plant.fault in STORED for plant in plants)
    return Gallery(hits(main), hits(stage), site, storable, tuple(plants), sound)


def _faults(
    dance: str, seed: int, images: Sequence[Image.Image], site: Site
) -> Iterator[tuple[Plant, Answer | None]]:
    """Yield each fault planted among a dance's images, and the response there (None: HTTP 404)."""

    def plant(fault: Fault, name: str, twin: Url | None = None, twin_dance: str = dance) -> Plant:
        host = IMAGE_HOSTS[len(name) % len(IMAGE_HOSTS)]
        return Plant(fault, dance, Url(host, f"/{dance}/{name}.jpg"), twin, twin_dance)

    for index in LATE:
        url = image_url(dance, index)
        late = replace(site[url.host, url.path], stumbles="503")
        yield Plant(Fault.LATE, dance, url), late
    for index in (20, 45):
        twin = image_url(dance, index)
        yield plant(Fault.SAME_BYTES, f"repost-{index}", twin), site[twin.host, twin.path]
    for index in (22, 46):
        width, height = images[index].size
        small = images[index].resize((width * 2 // 3, height * 2 // 3))
        twin = image_url(dance, index)
        yield plant(Fault.RESCALED, f"thumbnail-{index}", twin), encoded(small)
    for index in (24, 47):
        twin = image_url(dance, index)
        poor = encoded(images[index], quality=45)
        yield plant(Fault.RECOMPRESSED, f"forwarded-{index}", twin), poor
    owner, index = mislabelled(dance)
    lent = image_url(owner, index)
    misnamed = plant(Fault.TWO_LABELS, f"misnamed-{index}", lent, owner)
    yield misnamed, encoded(draw_image(owner, index, seed), lent.path)
    page = b"<!DOCTYPE html><html><title>Not here any more</title></html>"
    yield plant(Fault.HTML, "gone-1"), Answer(page, "text/html")
    yield plant(Fault.HTML, "gone-22"), Answer(page + b"\n", "image/jpeg")
    for index in (MAIN + STAGE, MAIN + STAGE + 1):
        whole = figures.jpeg(draw_image(dance, index, seed))
        yield plant(Fault.TRUNCATED, f"half-{index}"), Answer(whole[: len(whole) * 3 // 5])
    yield plant(Fault.BOMB, "huge"), Answer(bomb(), "image/png")
    yield plant(Fault.MISSING, "missing-1"), None
    yield plant(Fault.MISSING, "missing-22"), None
    private = encoded(draw_image(dance, MAIN + STAGE + 2, seed))
    yield plant(Fault.ROBOTS, "private/dancer"), private
    kept_back = replace(private, headers=(("X-Robots-Tag", "noai"),))
    yield plant(Fault.OPT_OUT, "not-for-learning"), kept_back
    inside = Answer(location=Url(INTRANET, "/secret.jpg"))
    yield plant(Fault.PRIVATE, "shortcut-1"), inside
    metadata = Answer(location="http://169.254.169.254/latest/meta-data/")
    yield plant(Fault.PRIVATE, "shortcut-22"), metadata


def bomb(side: int = 40_000) -> bytes:
    """Return a PNG of under 200 bytes whose header claims `side` x `side` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def encoded(image: Image.Image, path: str = "", quality: int = 88) -> Answer:
    """Encode an image in the format that the suffix of `path` names, by default JPEG."""
    suffix = path.rpartition(".")[2].partition("?")[0]
    if suffix not in ("png", "webp"):
        return Answer(figures.jpeg(image, quality), "image/jpeg")
    buffer = io.BytesIO()
    image.save(buffer, suffix.upper(), quality=quality)
    return Answer(buffer.getvalue(), f"image/{suffix}")


def _interleaved(sound: Sequence[Url], faulty: Sequence[Url]) -> list[Url]:
    """Put a faulty image after each sound one, so that a crawl meets all faults early."""
    mixed: list[Url] = []
    for index, url in enumerate(sound):
        mixed.append(url)
        mixed += faulty[index : index + 1]
    return mixed


def _pages(dance: str, images: Sequence[Url], site: Site) -> Mapping[Url, Url]:
    """Put two images on each page, as pages about events do; return the page of each image."""
    page_of = {}
    for index in range(0, len(images), 2):
        page = Url(IMAGE_HOSTS[index % len(IMAGE_HOSTS)], f"/{dance}/page-{index // 2}.html")
        shown = images[index : index + 2]
        names = ", ".join(html.escape(image.path) for image in shown)
        text = f"<!DOCTYPE html><title>{dance}</title><p>Images: {names}</p>\n"
        site[page.host, page.path] = Answer(text.encode(), "text/html; charset=utf-8")
        page_of.update(dict.fromkeys(shown, page))
    return page_of
