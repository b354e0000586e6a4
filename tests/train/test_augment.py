from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from pipeline.core.params import Augment
from pipeline.model.inputs import View
from pipeline.train.augment import apply, draw, fixed_views

ALL: dict[str, Any] = {
    "rotate": 15,
    "zoom": 0.2,
    "aspect": 0.2,
    "shear": 0.2,
    "shift": 0.1,
    "flip": 0.5,
    "light": 0.2,
    "elastic": 0.02,
    "stroke": 0.8,
}


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(count: int = 6, channels: int = 3, side: int = 24) -> torch.Tensor:
    return torch.rand((count, channels, side, side), generator=generator(5))


def changed(
    view: View, pixels: torch.Tensor, aspect: float = 1.0, seed: int = 1, **params: Any
) -> torch.Tensor:
    aspects = torch.full((len(pixels),), aspect)
    return apply(pixels, draw(Augment(**params), view, aspects, generator(seed)), view)


@pytest.mark.parametrize("fit", ["pad", "squish", "crop"])
def test_params_that_change_nothing_return_the_batch(fit: str) -> None:
    pixels = batch()
    same = changed(View(24, 3, fit), pixels)  # type: ignore[arg-type]
    assert torch.allclose(same, pixels, atol=1e-5)


@pytest.mark.parametrize("fit", ["pad", "squish", "crop"])
def test_changes_keep_shape_and_range_and_come_from_the_generator_alone(fit: str) -> None:
    view = View(16, 3, fit)  # type: ignore[arg-type]
    pixels = batch(side=16 if fit != "crop" else 24)
    torch.manual_seed(1)
    one = changed(view, pixels, **ALL)
    torch.manual_seed(2)
    assert one.shape == (6, 3, 16, 16)
    assert one.min() >= 0 and one.max() <= 1
    assert torch.equal(one, changed(view, pixels, **ALL))
    assert not torch.equal(one, changed(view, pixels, seed=2, **ALL))


def test_the_augmentation_of_an_image_does_not_depend_on_its_batch() -> None:
    view, pixels = View(24), batch(8)
    draws = draw(Augment(**ALL), view, torch.ones(8), generator())
    whole = apply(pixels, draws, view)
    halves = [apply(pixels[at], draws.at(at), view) for at in (slice(0, 4), slice(4, 8))]
    assert torch.allclose(torch.cat(halves), whole, atol=1e-6)


def test_flip_1_mirrors_all_images_and_flip_0_none() -> None:
    pixels = batch()
    view = View(24, fit="squish")
    assert torch.allclose(changed(view, pixels, flip=1), pixels.flip(3), atol=1e-5)
    all_but_flips = Augment(**ALL | {"flip": 0})
    theta = draw(all_but_flips, view, torch.ones(2000), generator()).theta
    assert torch.linalg.det(theta[:, :, :2]).min() > 0  # left stays left
    assert (theta[:, 0, 0] > 0).all() and (theta[:, 1, 1] > 0).all()


def test_a_quarter_turn_is_a_quarter_turn() -> None:
    view, pixels = View(24, fit="squish"), batch(200, 1)
    draws = draw(Augment(rotate=180), view, torch.ones(200), generator())
    angles = torch.rad2deg(torch.atan2(draws.theta[:, 1, 0], draws.theta[:, 0, 0]))
    assert angles.min() < -150 and angles.max() > 150
    quarter = int((angles - 90).abs().argmin())
    turned = apply(pixels[quarter : quarter + 1], draws.at(slice(quarter, quarter + 1)), view)
    expected = torch.rot90(pixels[quarter], 1, (1, 2))
    other = torch.rot90(pixels[quarter], 3, (1, 2))
    inner = slice(6, 18)
    here = (turned[0] - expected)[:, inner, inner].abs().mean()
    assert here < (turned[0] - other)[:, inner, inner].abs().mean() / 2


def test_outside_an_image_are_zeros_if_padded_else_its_mirror_image() -> None:
    white = torch.ones((50, 1, 24, 24))
    padded = changed(View(24, 1, "pad"), white, shift=0.5)
    photo = changed(View(24, 1, "crop"), white, shift=0.5)
    assert padded.amin((1, 2, 3)).median() == 0
    assert torch.allclose(photo, white, atol=1e-5)


@pytest.mark.parametrize("aspect", [0.25, 1.0, 3.0])
def test_random_crops_stay_inside_and_keep_to_the_area_and_aspect_bounds(aspect: float) -> None:
    view, count = View(24, fit="crop"), 400
    draws = draw(Augment(min_area=0.3), view, torch.full((count,), aspect), generator())
    width, height = draws.theta[:, 0, 0], draws.theta[:, 1, 1]  # shares of the image
    reach = draws.theta[:, :, 2].abs() + torch.stack([width, height], 1)
    assert reach.max() <= 1 + 1e-5
    area = width * height
    ratio = width * aspect / height
    free = (width < 0.999) & (height < 0.999)
    assert area.min() >= 0.15 and area.max() <= 1
    assert ratio[free].min() >= 3 / 4 - 1e-4 and ratio[free].max() <= 4 / 3 + 1e-4
    assert area[free].min() >= 0.3 - 1e-4


def test_without_random_crops_the_central_square_is_taken_as_in_prediction() -> None:
    draws = draw(Augment(), View(24, fit="crop"), torch.tensor([2.0, 0.5]), generator())
    assert draws.theta[0].tolist() == [[0.5, 0, 0], [0, 1, 0]]
    assert draws.theta[1].tolist() == [[1, 0, 0], [0, 0.5, 0]]


def test_stroke_makes_lines_thicker_or_thinner() -> None:
    view = View(24, 1, "pad")
    line = torch.zeros((300, 1, 24, 24))
    line[:, :, :, 11:13] = 1
    draws = draw(Augment(stroke=1.0), view, torch.ones(300), generator())
    assert draws.stroke is not None
    widths = apply(line, draws, view)[:, 0, 12].sum(1)
    assert widths.min() < 1.2 and widths.max() > 3
    order = draws.stroke.argsort()
    assert (widths[order].diff() >= -1e-4).all()


def test_a_larger_elastic_changes_more() -> None:
    view, pixels = View(24, 1, "pad"), batch(channels=1)
    little = changed(view, pixels, elastic=0.01)
    much = changed(view, pixels, elastic=0.05)
    assert 0 < (little - pixels).abs().mean() < (much - pixels).abs().mean()


def test_fixed_views_are_a_third_of_the_augmentation_the_plain_view_first() -> None:
    views = fixed_views(Augment(rotate=12, zoom=0.15, shear=0.3, shift=0.1, light=0.2))
    assert len(views) == 7 and views[0] == (1, 0, 0, 0, 1, 0)
    turned = views[2]
    assert math.degrees(math.asin(turned[3])) == pytest.approx(4, abs=1e-3)
    assert len(fixed_views(Augment())) == 1
    mirrored = fixed_views(Augment(zoom=0.1, flip=0.5))
    assert len(mirrored) == 6 and mirrored[3] == (-1, 0, 0, 0, 1, 0)
