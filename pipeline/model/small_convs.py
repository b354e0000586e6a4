"""Convolutions of small feature maps as matrix products, which a CPU computes faster.

For a letter 64 pixels wide, the last layers of a ResNet compute maps of 4 x 4 and 2 x 2 positions
with 256 and 512 channels. oneDNN loops over positions; if there are few, most of its time is
overhead, above all for the gradient of the weights. If each position's neighbourhood is a row of a
matrix (im2col), the forward pass and the two gradients are each one product of large matrices.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

PLACES = 4  # positions in the output, at most; 2 x 2 is 1.3 to 2.5 times faster as a product
PLACES_AMX = 16  # the same in bf16 on processors with AMX


class SmallConvs(TorchFunctionMode):
    """A context in which the CPU computes 3 x 3 convolutions with small outputs as matrix products.

    Torch computes everything else. Results differ from torch's in the last digits, but are the
    same on every run on one machine.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute small convolutions; pass everything else on."""
        if func is torch.conv2d and len(args) == 7 and not kwargs:  # as nn.Conv2d calls it
            inputs, weight, bias, stride, padding, dilation, groups = args
            if (
                weight.shape[2:] == (3, 3)
                and (bias, padding, dilation, groups) == (None, (1, 1), (1, 1), 1)
                and stride in ((1, 1), (2, 2))
                and not any(side % stride[0] for side in inputs.shape[2:])
            ):
                dtype = inputs.dtype
                if torch.is_autocast_enabled("cpu"):
                    dtype = torch.get_autocast_dtype("cpu")
                if _places(inputs, stride[0]) <= _most(dtype):
                    return Product.apply(inputs.to(dtype), weight.to(dtype), stride[0])
        return func(*args, **(kwargs or {}))


def _places(inputs: Tensor, stride: int) -> int:
    return inputs.shape[2] // stride * (inputs.shape[3] // stride)


def _most(dtype: torch.dtype) -> int:
    has_tiles = getattr(
        torch.cpu, "_is_amx_tile_supported", bool
    )  # a private name in torch, which may disappear
    return PLACES_AMX if dtype == torch.bfloat16 and has_tiles() else PLACES


class Product(torch.autograd.Function):
    """A 3 x 3 convolution, padding 1, for inputs (n, c, h, w) and weights (o, c, 3, 3)."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, stride: int) -> Tensor:
        """Return the convolution as neighbourhoods times weights."""
        ctx.save_for_backward(inputs, weight)
        ctx.stride = stride
        rows = neighbourhoods(inputs, stride)
        return _as_maps(rows @ weight.permute(0, 2, 3, 1).flatten(1).t(), inputs, stride)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Return the gradients of inputs and weights, each computed as one product."""
        (gradient,) = gradients
        inputs, weight = ctx.saved_tensors
        of_inputs = of_weight = None
        if ctx.needs_input_grad[0]:
            of_inputs = _of_inputs(gradient, inputs, weight, ctx.stride)
        if ctx.needs_input_grad[1]:
            rows = gradient.permute(0, 2, 3, 1).flatten(0, 2)
            product = rows.t() @ neighbourhoods(inputs, ctx.stride)
            of_weight = product.view(len(weight), 3, 3, -1).permute(0, 3, 1, 2)
        return of_inputs, of_weight, None


def _of_inputs(gradient: Tensor, inputs: Tensor, weight: Tensor, stride: int) -> Tensor:
    if stride == 1:  # a convolution with the flipped weights
        turned = weight.permute(2, 3, 0, 1).flip(0, 1).flatten(0, 2)
        return _as_maps(neighbourhoods(gradient, 1) @ turned, inputs, 1)
    steps, edge = [stride] * 2, [1, 1]
    wanted = [True, False, False]
    found: tuple[Tensor, ...] = torch.ops.aten.convolution_backward(
        gradient, inputs, weight, None, steps, edge, [1, 1], False, [0, 0], 1, wanted
    )
    return found[0]


def neighbourhoods(maps: Tensor, stride: int) -> Tensor:
    """Return the 3 x 3 neighbourhood of each position as (n * h * w, 9 * c), zeros outside.

    `maps` are (n, c, h, w); h and w are divided by the stride.
    """
    padded = functional.pad(maps.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    across = padded.unfold(1, 3, stride).unfold(2, 3, stride)  # n, h, w, c, 3, 3
    return across.permute(0, 1, 2, 4, 5, 3).flatten(3).flatten(0, 2)


def _as_maps(rows: Tensor, like: Tensor, stride: int) -> Tensor:
    height, width = (side // stride for side in like.shape[2:])
    return rows.view(len(like), height, width, -1).permute(0, 3, 1, 2)
