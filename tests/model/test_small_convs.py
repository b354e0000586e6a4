"""Convolutions as products are those of torch, in every shape; everything else is torch's own."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pipeline.model import small_convs
from pipeline.model.network import build
from pipeline.model.small_convs import Product, SmallConvs

SIDES = st.sampled_from([2, 4, 6, 8])


def both(
    inputs: Tensor, weight: Tensor, stride: int
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return torch's output and gradients, and the product's."""
    gradient = torch.randn(torch.conv2d(inputs, weight, None, stride, 1).shape).to(inputs.dtype)
    found = []
    for output in (
        torch.conv2d(inputs, weight, None, stride, 1),
        Product.apply(inputs, weight, stride),
    ):
        found.append((output, *torch.autograd.grad(output, (inputs, weight), gradient)))
    return found[0], found[1]


@given(
    st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), SIDES, SIDES, st.sampled_from([1, 2])
)
@settings(deadline=None)
def test_a_product_is_the_convolution_and_so_are_its_gradients(
    n: int, channels: int, outputs: int, height: int, width: int, stride: int
) -> None:
    inputs = torch.randn(n, channels, height, width, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(outputs, channels, 3, 3, dtype=torch.float64, requires_grad=True)
    for theirs, ours in zip(*both(inputs, weight, stride), strict=True):
        assert theirs.shape == ours.shape
        assert torch.allclose(theirs, ours, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rounding_errors_are_as_small_as_torchs(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    inputs, weight = torch.randn(16, 64, 4, 4).to(dtype), torch.randn(32, 64, 3, 3).to(dtype)
    exact = torch.conv2d(inputs.double(), weight.double(), None, 1, 1)
    theirs, ours = both(inputs.requires_grad_(), weight.requires_grad_(), 1)
    errors = [(each[0].detach().double() - exact).square().mean() for each in (theirs, ours)]
    assert errors[1] <= 4 * errors[0]  # twice as large a deviation: sums go in another order


def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Note the shape of each weight that goes through a product."""
    shapes: list[tuple[int, ...]] = []
    apply = Product.apply

    def noted(inputs: Tensor, weight: Tensor, stride: int) -> Any:
        shapes.append(tuple(weight.shape))
        return apply(inputs, weight, stride)

    monkeypatch.setattr(Product, "apply", noted)
    return shapes


def test_only_plain_convolutions_with_small_outputs_are_products(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes = taken(monkeypatch)
    kinds = {
        "small": (nn.Conv2d(4, 6, 3, padding=1, bias=False), 2, True),
        "strided": (nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False), 4, True),
        "large": (nn.Conv2d(4, 6, 3, padding=1, bias=False), 9, False),
        "odd and strided": (nn.Conv2d(4, 6, 3, stride=2, padding=1, bias=False), 3, False),
        "with a bias": (nn.Conv2d(4, 6, 3, padding=1), 2, False),
        "not padded": (nn.Conv2d(4, 6, 3, bias=False), 4, False),
        "dilated": (nn.Conv2d(4, 6, 3, padding=1, dilation=2, bias=False), 4, False),
        "grouped": (nn.Conv2d(4, 6, 3, padding=1, groups=2, bias=False), 2, False),
        "of one place": (nn.Conv2d(4, 6, 1, bias=False), 2, False),
        "padded by name": (nn.Conv2d(4, 6, 3, padding="same", bias=False), 2, False),
    }
    for name, (layer, side, is_product) in kinds.items():
        shapes.clear()
        inputs = torch.randn(2, 4, side, side)
        with SmallConvs():
            found = layer(inputs)
        assert bool(shapes) == is_product, name
        assert torch.allclose(found, layer(inputs), atol=1e-5), name
    strided, _, _ = kinds["strided"]
    wide = torch.randn(2, 4, 4, 3)
    with SmallConvs():
        found = strided(wide)
    assert torch.allclose(found, strided(wide), atol=1e-5)
    few = torch.randn(1, 2, 4, 4), torch.randn(2, 2, 3, 3)
    with SmallConvs():
        found = torch.conv2d(*few)
    assert torch.equal(found, torch.conv2d(*few))
    by_name = {"input": torch.randn(1, 2, 2, 2), "weight": torch.randn(2, 2, 3, 3), "padding": 1}
    with SmallConvs():
        found = torch.conv2d(**by_name)  # type: ignore[call-overload]
    assert torch.equal(found, torch.conv2d(**by_name))  # type: ignore[call-overload]


def test_a_resnet34_has_the_same_gradients_through_products(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At 64 pixels the last stage is 2 x 2; the one before is 4 x 4, small enough for tiles."""
    for has_tiles in (False, True):
        monkeypatch.setattr(small_convs, "PLACES", small_convs.PLACES_AMX if has_tiles else 4)
        found = []
        for context in (nullcontext(), SmallConvs()):
            torch.manual_seed(0)
            network = build(3, channels=1, dropout=0).to(memory_format=torch.channels_last)
            nn.init.normal_(network[1][8].weight)  # type: ignore[index]
            with monkeypatch.context() as patch, context:
                shapes = taken(patch)
                loss = network(torch.randn(2, 1, 64, 64)).square().mean()
            loss.backward()
            found.append((loss.detach(), [weight.grad for weight in network.parameters()]))
        assert len(shapes) == (18 if has_tiles else 6)
        (theirs, gradients), (ours, others) = found
        assert torch.allclose(theirs, ours, rtol=1e-4)
        for one, other in zip(gradients, others, strict=True):
            assert one is not None and other is not None
            assert torch.allclose(one, other, rtol=1e-2, atol=1e-4 * float(one.abs().max()))


def test_bf16_is_computed_in_bf16() -> None:
    layer = nn.Conv2d(8, 8, 3, padding=1, bias=False)
    with torch.autocast("cpu", torch.bfloat16), SmallConvs():
        found = layer(torch.randn(2, 8, 2, 2))
    assert found.dtype == torch.bfloat16
    found.float().sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.dtype == torch.float32
