"""Architectures: the bodies that a network can have, in one table.

A body is the convolutional part of a network without its classifier. `network.build` puts a new
head on it. To add an architecture, write a builder here and an entry in ARCHITECTURES.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from pipeline.core.errors import PipelineError

# Mean and standard deviation of ImageNet's channels, for values from 0 to 1.
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class PublishedWeights:
    """Pretrained weights to download."""

    name: str
    url: str
    sha256: str  # all digits, or the first ones if no more are published
    max_bytes: int


@dataclass(frozen=True)
class Architecture:
    """A kind of body, and what training needs to know about it.

    Input is (n, channels, size, size); output is (n, features, h, w).
    """

    name: str
    build_body: Callable[[int], nn.Sequential]  # from the number of channels: 1 or 3
    features: int
    split_at: int  # children before this index are the first layer group, the rest the second
    stem: str  # name of the first convolution's weights in the body's state
    body_weights: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]  # published to our names
    published: PublishedWeights
    # what the published weights expect of their inputs
    size: int = 224  # side in pixels
    mean: tuple[float, ...] = IMAGENET[0]
    std: tuple[float, ...] = IMAGENET[1]


def _resnet34(channels: int) -> nn.Sequential:
    from torchvision.models import resnet34

    whole = resnet34(weights=None, zero_init_residual=True)  # each block starts as the identity
    if channels != 3:
        whole.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(whole.conv1.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(*list(whole.children())[:-2])


def _resnet_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename torchvision's weights as in the body, where the children below have these numbers."""
    order = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    return {
        f"{order.index(key.split('.')[0])}.{key.split('.', 1)[1]}": value
        for key, value in state.items()
        if key.split(".")[0] in order
    }


RESNET34 = "resnet34"
ARCHITECTURES: dict[str, Architecture] = {
    RESNET34: Architecture(
        name=RESNET34,
        build_body=_resnet34,
        features=512,
        split_at=6,
        stem="0.weight",
        body_weights=_resnet_weights,
        published=PublishedWeights(
            name="torchvision's ResNet34_Weights.IMAGENET1K_V1",
            url="https://download.pytorch.org/models/resnet34-b627a593.pth",
            sha256="b627a593",
            max_bytes=100_000_000,  # the file has 87 MB
        ),
    ),
}


def architecture_of(name: str) -> Architecture:
    """Return an architecture by name.

    Raises PipelineError if it is unknown; the error lists the known ones.
    """
    if name not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise PipelineError(f"unknown architecture {name!r}; allowed: {known}")
    return ARCHITECTURES[name]
