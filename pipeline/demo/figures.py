"""Draw dancers: classes differ in pose, costume colour, headdress and skirt.

Everything else varies from image to image and does not depend on the class, as in photos: stage,
light, position, height, and whether the image is mirrored.
"""

from __future__ import annotations

import colorsys
import io
import math
import random
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True)
class Style:
    """The appearance of a dance. Angles are in degrees: 0 is down, positive is outwards."""

    costume: float  # hue, 0 to 1
    brightness: float  # of the costume; a white one is bright and has little saturation
    saturation: float
    trim: float  # hue of borders and jewels
    skirt: Literal["pleats", "flare", "bell", "barrel"]
    head: Literal["flowers", "veil", "disc", "cone", "spire", "pot"]
    arms: tuple[tuple[float, float], tuple[float, float]]  # upper and fore arm, left and right
    bend: float  # of the knees, outwards
    face: float | None = None  # hue of a painted face


STYLES: dict[str, Style] = {
    "bharathanatyam": Style(
        0.0, 0.8, 0.85, 0.13, "pleats", "flowers", ((95, 175), (95, 60)), bend=62
    ),
    "kathak": Style(0.6, 0.95, 0.2, 0.55, "flare", "veil", ((165, 195), (85, 95)), bend=8),
    "kathakali": Style(
        0.1, 0.9, 0.9, 0.0, "bell", "disc", ((70, 130), (70, 130)), bend=48, face=0.36
    ),
    "jagoi": Style(0.88, 0.75, 0.75, 0.38, "barrel", "cone", ((40, 80), (50, 10)), bend=4),
    "odissi": Style(0.52, 0.6, 0.8, 0.08, "pleats", "spire", ((120, 60), (35, 120)), bend=40),
    "kuchipudi": Style(0.3, 0.6, 0.8, 0.15, "flare", "pot", ((100, 100), (150, 170)), bend=30),
    "mohiniyattam": Style(
        0.12, 0.98, 0.12, 0.12, "pleats", "flowers", ((50, 110), (60, 100)), bend=35
    ),
    "sattriya": Style(0.09, 0.85, 0.4, 0.98, "barrel", "disc", ((150, 150), (110, 40)), bend=20),
}


def draw(style: Style, chance: random.Random) -> Image.Image:
    """Return one image of a dancer (RGB, sides of 260 to 420 pixels)."""
    size = (chance.randint(260, 360), chance.randint(320, 420))
    image = _stage(size, chance)
    _dancer(image, style, chance)
    if chance.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    noise = np.random.default_rng(chance.getrandbits(32)).normal(
        0, chance.uniform(2, 9), size[::-1]
    )
    light = chance.uniform(0.75, 1.2)
    pixels = np.asarray(image, dtype=np.float32) * light + noise[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8), "RGB")


def jpeg(image: Image.Image, quality: int = 88) -> bytes:
    """Return an image as JPEG bytes."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _rgb(hue: float, saturation: float, value: float) -> Colour:
    r, g, b = colorsys.hsv_to_rgb(hue % 1, min(max(saturation, 0), 1), min(max(value, 0), 1))
    return round(r * 255), round(g * 255), round(b * 255)


def _stage(size: tuple[int, int], chance: random.Random) -> Image.Image:
    """Draw the background: a slanting light, and pillars, arches and lamps at random.

    A perceptual hash depends on large light and dark shapes, so these make the hashes of two
    drawn images differ as much as those of two photos.
    """
    width, height = size
    angle = chance.uniform(0, 2 * math.pi)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    ramp = (x / width - 0.5) * math.cos(angle) + (y / height - 0.5) * math.sin(angle)
    ramp = (ramp - ramp.min()) / (ramp.max() - ramp.min())
    ends = [_rgb(chance.random(), chance.uniform(0, 0.5), chance.uniform(0.1, 0.9)) for _ in "12"]
    mixed = np.array(ends[0]) * (1 - ramp[..., None]) + np.array(ends[1]) * ramp[..., None]
    image = Image.fromarray(mixed.astype(np.uint8), "RGB")
    pen = ImageDraw.Draw(image)
    for _ in range(chance.randint(5, 9)):
        colour = _rgb(chance.random(), chance.uniform(0, 0.5), chance.uniform(0.05, 0.95))
        left, top = chance.uniform(-0.2, 0.9) * width, chance.uniform(-0.2, 0.9) * height
        across, down = chance.uniform(0.1, 0.5) * width, chance.uniform(0.1, 0.6) * height
        box = (left, top, left + across, top + down)
        kind = chance.choice(("pillar", "lamp", "arch"))
        if kind == "pillar":
            pen.rectangle(box, fill=colour)
        elif kind == "lamp":
            pen.ellipse(box, fill=colour)
        else:
            pen.pieslice(box, 180, 360, fill=colour)
            pen.rectangle((box[0], top + down / 2, box[2], top + down), fill=colour)
    floor = chance.uniform(0.78, 0.95) * height
    pen.rectangle((0, floor, width, height), fill=_rgb(0.08, 0.4, chance.uniform(0.1, 0.7)))
    return image.filter(ImageFilter.GaussianBlur(chance.uniform(0.5, 3)))


class _Body:
    """Maps a body of height 1, with its feet at (0, 1), onto an image; draws round joints."""

    def __init__(self, image: Image.Image, style: Style, chance: random.Random) -> None:
        self.pen = ImageDraw.Draw(image)
        self.unit = image.height * chance.uniform(0.62, 0.85)
        self.left = image.width * chance.uniform(0.4, 0.6)
        self.top = image.height * chance.uniform(0.9, 0.97) - self.unit
        self.lean = chance.uniform(-0.08, 0.08)
        hue = style.costume + chance.gauss(0, 0.02)
        value = style.brightness * chance.uniform(0.85, 1.1)
        self.cloth = _rgb(hue, style.saturation, value)
        self.fold = _rgb(hue, style.saturation + 0.1, value * 0.7)
        self.trim = _rgb(style.trim + chance.gauss(0, 0.015), 0.8, chance.uniform(0.8, 1))
        self.skin = _rgb(0.07, 0.5, chance.uniform(0.5, 0.85))
        self.hair = _rgb(0.07, 0.3, 0.12)

    def at(self, point: Point) -> Point:
        x, y = point
        return self.left + self.unit * (x + self.lean * (1 - y)), self.top + self.unit * y

    def limb(self, joints: list[Point], width: float, colour: Colour) -> None:
        thick = max(2, round(width * self.unit))
        placed = [self.at(joint) for joint in joints]
        self.pen.line(placed, fill=colour, width=thick, joint="curve")
        for joint in joints:
            self.disc(joint, width / 2, colour)

    def disc(self, centre: Point, radius: float, colour: Colour, squash: float = 1.0) -> None:
        x, y = self.at(centre)
        across, down = radius * self.unit, radius * self.unit * squash
        self.pen.ellipse((x - across, y - down, x + across, y + down), fill=colour)

    def shape(self, corners: list[Point], colour: Colour) -> None:
        self.pen.polygon([self.at(corner) for corner in corners], fill=colour)


def _dancer(image: Image.Image, style: Style, chance: random.Random) -> None:
    """Draw the dancer on the stage: legs, skirt, body, arms, head."""
    body = _Body(image, style, chance)
    sink = 0.12 * math.sin(math.radians(style.bend))  # bent knees lower the hips
    hip, neck = 0.55 + sink, 0.24 + sink
    for side in (-1, 1):
        out = math.radians(style.bend + chance.gauss(0, 5))
        knee = (side * (0.05 + 0.2 * math.sin(out)), hip + 0.22 * math.cos(out))
        body.limb(
            [(side * 0.04, hip), knee, (side * (0.05 + 0.05 * math.sin(out)), 0.98)],
            0.07,
            body.fold,
        )
        body.limb([(side * 0.06, 0.98), (side * 0.13, 0.99)], 0.035, body.skin)
    _skirt(body, style, hip, chance)
    body.shape([(-0.1, neck + 0.02), (0.1, neck + 0.02), (0.075, hip), (-0.075, hip)], body.cloth)
    body.limb([(-0.075, hip - 0.01), (0.075, hip - 0.01)], 0.03, body.trim)
    for side, (upper, fore) in zip((-1, 1), style.arms, strict=True):
        first = math.radians(upper + chance.gauss(0, 8))
        second = math.radians(fore + chance.gauss(0, 10))
        shoulder = (side * 0.1, neck + 0.03)
        elbow = (shoulder[0] + side * 0.15 * math.sin(first), shoulder[1] + 0.15 * math.cos(first))
        hand = (elbow[0] + side * 0.15 * math.sin(second), elbow[1] + 0.15 * math.cos(second))
        body.limb([shoulder, elbow, hand], 0.04, body.skin)
        body.disc(elbow, 0.027, body.trim)
        body.disc(hand, 0.028, body.skin)
    _head(body, style, neck)


def _skirt(body: _Body, style: Style, hip: float, chance: random.Random) -> None:
    spread = chance.uniform(0.85, 1.15)
    if style.skirt == "pleats":  # a fan between the knees
        for fold in range(-3, 4):
            x = fold * 0.045 * spread
            colour = body.trim if fold % 2 else body.cloth
            body.shape(
                [
                    (x * 0.4 - 0.02, hip),
                    (x * 0.4 + 0.02, hip),
                    (x + 0.03, hip + 0.3),
                    (x - 0.03, hip + 0.3),
                ],
                colour,
            )
    elif style.skirt == "flare":  # turning: a wide cone with a border
        wide = 0.42 * spread
        body.shape([(-0.07, hip), (0.07, hip), (wide, hip + 0.3), (-wide, hip + 0.3)], body.cloth)
        body.disc((0, hip + 0.3), wide, body.trim, 0.14)
        body.disc((0, hip + 0.28), wide * 0.96, body.cloth, 0.12)
    elif style.skirt == "bell":  # a heavy round one in rings
        for ring, colour in (
            (0.3, body.trim),
            (0.25, body.cloth),
            (0.18, body.trim),
            (0.14, body.cloth),
        ):
            body.disc((0, hip + 0.14), ring * spread, colour, 0.62)
    else:  # barrel: stiff and straight, with bands
        wide = 0.17 * spread
        for band in range(5):
            top = hip - 0.02 + band * 0.075
            colour = body.trim if band % 2 else body.cloth
            body.shape(
                [(-wide, top), (wide, top), (wide, top + 0.075), (-wide, top + 0.075)], colour
            )


def _head(body: _Body, style: Style, neck: float) -> None:
    centre = (0.0, neck - 0.08)
    face = body.skin if style.face is None else _rgb(style.face, 0.8, 0.6)
    body.limb([(0, neck + 0.02), centre], 0.05, body.skin)
    if style.head == "veil":
        body.shape([(0, neck - 0.2), (0.13, neck + 0.25), (-0.13, neck + 0.25)], body.fold)
    elif style.head == "disc":
        body.disc((0, neck - 0.16), 0.16, body.trim)
        body.disc((0, neck - 0.16), 0.11, body.cloth)
    elif style.head == "flowers":
        body.disc((0, neck - 0.12), 0.085, (240, 240, 230))
    body.disc(centre, 0.075, body.hair)
    body.disc((0, neck - 0.065), 0.06, face, 1.15)
    if style.head == "cone":
        body.shape([(-0.07, neck - 0.1), (0.07, neck - 0.1), (0, neck - 0.27)], body.trim)
    elif style.head == "spire":
        body.disc((0, neck - 0.16), 0.06, (225, 225, 235))
        body.shape([(-0.03, neck - 0.17), (0.03, neck - 0.17), (0, neck - 0.3)], (225, 225, 235))
    elif style.head == "pot":
        body.disc((0, neck - 0.19), 0.06, body.trim)
        body.limb([(-0.035, neck - 0.25), (0.035, neck - 0.25)], 0.02, body.trim)
    for side in (-1, 1):
        body.disc((side * 0.022, neck - 0.07), 0.008, body.hair)
    body.limb([(-0.015, neck - 0.025), (0.015, neck - 0.025)], 0.008, _rgb(0, 0.8, 0.6))
