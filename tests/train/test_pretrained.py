from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from pipeline.core.errors import PipelineError
from pipeline.core.files import sha256_of
from pipeline.model.architectures import (
    ARCHITECTURES,
    RESNET34,
    Architecture,
    PublishedWeights,
)
from pipeline.train.pretrained import read_weights

Project = Callable[..., Path]
RESNET = ARCHITECTURES[RESNET34]


def at(url: str) -> Architecture:
    """Return the architecture with its published weights at another URL."""
    sha256 = url.rsplit("-", 1)[1].removesuffix(".pth")
    return replace(RESNET, published=PublishedWeights("the weights", url, sha256, 100_000_000))


def published(root: Path) -> str:
    """Put a file of weights with the start of its hash in its name where a server would have it."""
    plain = root / "plain.pth"
    torch.save({"conv1.weight": torch.ones(2)}, plain)
    named = root / "web" / f"resnet34-{sha256_of(plain)[:8]}.pth"
    named.parent.mkdir()
    shutil.move(plain, named)
    return named.as_uri()


def test_weights_none_are_none() -> None:
    assert read_weights("none", RESNET) is None


def test_published_weights_are_downloaded_once_and_verified(project: Project) -> None:
    root = project()
    url = published(root)
    weights = read_weights("imagenet", at(url))
    assert weights is not None and torch.equal(weights.state["conv1.weight"], torch.ones(2))
    assert weights.sha256.startswith(at(url).published.sha256)
    shutil.rmtree(root / "web")
    assert read_weights("imagenet", at(url)) is not None  # the network is not needed any more


def test_weights_with_a_wrong_sha256_are_an_error(project: Project) -> None:
    root = project()
    url = published(root)
    torch.save({"conv1.weight": torch.zeros(2)}, next((root / "web").iterdir()))
    with pytest.raises(PipelineError, match="sha256"):
        read_weights("imagenet", at(url))
    assert not list((root / "data" / "weights").glob("*.pth"))
    kept = root / "data" / "weights" / url.rsplit("/", 1)[1]
    kept.write_bytes(b"cut short")
    with pytest.raises(PipelineError, match="wrong sha256, expected it to begin with"):
        read_weights("imagenet", at(url))


def test_a_failed_download_is_an_error_that_says_what_to_do(project: Project) -> None:
    root = project()
    url = (root / "nowhere" / "resnet34-0123abcd.pth").as_uri()
    with pytest.raises(PipelineError) as error:
        read_weights("imagenet", at(url))
    message = error.value.message
    assert "download of the weights failed" in message and "\n" not in message
    assert (
        "put resnet34-0123abcd.pth into data/weights, or set train.<dataset>.weights to none"
        in message
    )


def test_a_file_of_weights_is_read_without_unpickling_anything_but_tensors(
    project: Project,
) -> None:
    root = project()
    save_file({"conv1.weight": torch.ones(2)}, root / "own.safetensors")
    assert read_weights("own.safetensors", RESNET) is not None

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (root.joinpath("sprung").write_text, ("x",))

    torch.save({"conv1.weight": Trap()}, root / "trap.pth")
    with pytest.raises(PipelineError, match=r"trap\.pth: not a readable weights file"):
        read_weights("trap.pth", RESNET)
    assert not (root / "sprung").exists()
    (root / "text.pth").write_text("not weights")
    torch.save([1, 2], root / "list.pth")
    for name in ("text.pth", "list.pth"):
        with pytest.raises(PipelineError, match=r"not a (readable )?weights file"):
            read_weights(name, RESNET)
