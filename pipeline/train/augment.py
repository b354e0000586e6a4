"""Augmentation of whole batches on the device: one resampling for all geometric changes.

The random numbers of an epoch are drawn at once on the CPU, so that they are the same on every
device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from pipeline.core.params import Augment
from pipeline.model.inputs import View
from pipeline.model.network import padding_mode

ELASTIC_KNOTS = 4  # along a side: bends about as long as a stroke; finer ones only roughen strokes
CROP_RATIOS = (3 / 4, 4 / 3)  # width / height of random crops, as is usual for ImageNet


class Draws(NamedTuple):
    """The random augmentations drawn for n images, one field per kind of augmentation.

    A field is None if params do not ask for that kind.
    """

    theta: Tensor  # (n, 2, 3): from output to input coordinates, both -1 to 1
    light: Tensor | None  # (n, 2): factor of contrast, shift of brightness
    elastic: Tensor | None  # (n, 2, knots, knots): shifts, in half sides
    stroke: Tensor | None  # (n,): -1 thinnest to 1 thickest

    def at(self, rows: slice) -> Draws:
        """Return the random draws for a slice of the images."""
        return self._each(lambda values: values[rows])

    def to(self, device: torch.device) -> Draws:
        """Return the random draws, moved to a device."""
        return self._each(lambda values: values.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Draws:
        theta, *others = self
        return Draws(change(theta), *(None if one is None else change(one) for one in others))


def draw(params: Augment, view: View, aspects: Tensor, generator: torch.Generator) -> Draws:
    """Draw the augmentations of `len(aspects)` images, uniformly within the bounds of `params`.

    `aspects` (n,) are width / height if images are stored whole for random crops, and 1 otherwise.
    """
    count = len(aspects)

    def uniform(largest: float) -> Tensor:
        return largest * (2 * torch.rand(count, generator=generator) - 1)

    width = height = torch.ones(count)
    room_x = room_y = torch.zeros(count)
    if view.fit == "crop" and params.min_area == 1:  # the largest central square
        width = height = aspects.clamp(max=1)
    elif view.fit == "crop":
        area = 1 + (params.min_area - 1) * torch.rand(count, generator=generator)
        low, high = (math.log(ratio) for ratio in CROP_RATIOS)
        ratio = torch.exp(low + (high - low) * torch.rand(count, generator=generator))
        # in heights of the image; clamped to its size
        width = torch.minimum((area * aspects * ratio).sqrt(), aspects)
        height = (area * aspects / ratio).sqrt().clamp(max=1)
        room_x, room_y = aspects - width, 1 - height
    zoom = (1 + params.zoom) ** uniform(1)
    stretch = (1 + params.aspect) ** uniform(0.5)
    flip = 1 - 2 * (torch.rand(count, generator=generator) < params.flip).float()
    theta = matrices(
        torch.deg2rad(uniform(params.rotate)),
        uniform(params.shear),
        (flip * width * zoom * stretch, height * zoom / stretch),
        (
            room_x * uniform(1) + 2 * width * uniform(params.shift),
            room_y * uniform(1) + 2 * height * uniform(params.shift),
        ),
    )
    theta[:, 0] /= aspects[:, None]
    light = elastic = stroke = None
    if params.light:
        light = torch.stack([(1 + params.light) ** uniform(1), uniform(params.light / 2)], 1)
    if params.elastic:
        knots = (count, 2, ELASTIC_KNOTS, ELASTIC_KNOTS)
        elastic = 2 * params.elastic * torch.randn(knots, generator=generator)
    if params.stroke:
        stroke = uniform(params.stroke)
    return Draws(theta, light, elastic, stroke)


def matrices(
    angle: Tensor, shear: Tensor, size: tuple[Tensor, Tensor], centre: tuple[Tensor, Tensor]
) -> Tensor:
    """Return affine matrices (n, 2, 3) from output to input coordinates.

    `angle` is in radians; `size` and `centre` (x, y) are in units of half a side; each is (n,).
    """
    cos, sin = angle.cos(), angle.sin()
    rows = [
        torch.stack([size[0] * cos, size[1] * (shear * cos - sin), centre[0]], 1),
        torch.stack([size[0] * sin, size[1] * (shear * sin + cos), centre[1]], 1),
    ]
    return torch.stack(rows, 1)


def fixed_views(params: Augment) -> tuple[tuple[float, ...], ...]:
    """Return the views for test-time augmentation as flat 2 x 3 matrices, the plain view first.

    Rotation, shear and zoom, if training uses them, each add two views: one in each direction, by a
    third of the amount used in training. If training flips images, each view is also mirrored.
    """
    third = [params.rotate / 3, params.shear / 3, params.zoom / 3]
    tried = [[0.0, 0.0, 0.0]]
    for place, amount in enumerate(third):
        if amount:
            tried += [[way * amount * (at == place) for at in range(3)] for way in (-1, 1)]
    angle, shear, zoom = torch.tensor(tried).unbind(1)
    side, middle = torch.exp(zoom), torch.zeros(len(tried))
    theta = matrices(torch.deg2rad(angle), shear, (side, side), (middle, middle))
    if params.flip:
        mirror = torch.tensor([[-1.0, 1, 1], [-1, 1, 1]])
        theta = torch.cat([theta, theta * mirror])
    return tuple(tuple(round(value, 6) for value in window.flatten().tolist()) for window in theta)


def apply(pixels: Tensor, draws: Draws, view: View) -> Tensor:
    """Augment a batch (n, channels, side, side) of values from 0 to 1.

    Returns (n, channels, size, size). An image is continued beyond its edges by zeros if images are
    padded, else by its reflection.
    """
    shape = (len(pixels), *view.shape)
    grid = functional.affine_grid(draws.theta, list(shape), align_corners=False)
    if draws.elastic is not None:
        bent = functional.interpolate(
            draws.elastic, (view.size, view.size), mode="bicubic", align_corners=True
        )
        grid = grid + bent.permute(0, 2, 3, 1)
    pixels = functional.grid_sample(
        pixels, grid, mode="bilinear", padding_mode=padding_mode(view), align_corners=False
    )
    if draws.stroke is not None:
        amount = draws.stroke.view(-1, 1, 1, 1)
        thicker = functional.max_pool2d(pixels, 3, stride=1, padding=1)
        thinner = -functional.max_pool2d(-pixels, 3, stride=1, padding=1)
        pixels = pixels + amount.clamp(min=0) * (thicker - pixels)
        pixels = pixels + (-amount).clamp(min=0) * (thinner - pixels)
    if draws.light is not None:
        contrast, brightness = draws.light.view(-1, 2, 1, 1, 1).unbind(1)
        mean = pixels.mean((1, 2, 3), keepdim=True)
        pixels = ((pixels - mean) * contrast + mean + brightness).clamp(0, 1)
    return pixels
