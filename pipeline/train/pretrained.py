"""Pretrained weights: a published file that is downloaded and verified, or the user's own file."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pipeline.core.errors import PipelineError
from pipeline.core.files import sha256_of
from pipeline.dataset.paths import weights_folder
from pipeline.http.download import download
from pipeline.model.architectures import Architecture, PublishedWeights


class Weights(NamedTuple):
    """The tensors of a file of weights, and the sha256 of the file."""

    state: Mapping[str, Tensor]
    sha256: str


def read_weights(wanted: str, architecture: Architecture) -> Weights | None:
    """Return the weights that `train.<dataset>.weights` names; None for `none`.

    `imagenet` is the architecture's published file, downloaded once into data/weights/ and
    verified. Any other value is the path of a torch file (tensors only: nothing is unpickled) or a
    safetensors file. Raises PipelineError if the download fails or the file has another format.
    """
    if wanted == "none":
        return None
    path = published_file(architecture.published) if wanted == "imagenet" else Path(wanted)
    if not path.is_file():
        raise PipelineError(
            f"{path}: weights file not found; allowed: imagenet, none, or the path of a file"
        )
    return Weights(_read(path), sha256_of(path))


def published_file(weights: PublishedWeights) -> Path:
    """Return the path of published weights; download them if they are not there.

    Raises PipelineError if the download fails, or if the file's sha256 is wrong.
    """
    path = weights_folder() / weights.url.rsplit("/", 1)[1]

    def check(file: Path) -> None:
        if not sha256_of(file).startswith(weights.sha256):
            raise PipelineError(
                f"{file}: wrong sha256, expected it to begin with {weights.sha256}; delete the file"
            )

    if path.exists():
        check(path)
        return path
    try:
        download(weights.url, [], path, sha256=None, max_bytes=weights.max_bytes, check=check)
    except PipelineError as error:
        raise PipelineError(
            f"download of {weights.name} failed: {error.message}; put {path.name} into "
            f"{path.parent}, or set train.<dataset>.weights to none"
        ) from error
    return path


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        first = str(error).splitlines()[0]
        raise PipelineError(f"{path}: not a readable weights file: {first}") from error
    if not isinstance(state, dict):
        raise PipelineError(
            f"{path}: not a weights file: expected tensors by name, found {type(state).__name__}"
        )
    return state
