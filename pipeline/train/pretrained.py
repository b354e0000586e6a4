"""Weights to begin with: a verified input, never fetched behind anyone's back."""

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

# torchvision's ResNet34_Weights.IMAGENET1K_V1. The end of its name is the start of its sha256.
IMAGENET_URL = "https://download.pytorch.org/models/resnet34-b627a593.pth"
MAX_BYTES = 100_000_000  # it has 87 MB


class Weights(NamedTuple):
    """What a file of weights holds, and which file it was: a path may be written anew."""

    state: Mapping[str, Tensor]
    sha256: str


def read_weights(wanted: str, url: str = IMAGENET_URL) -> Weights | None:
    """Return the weights that `train.<dataset>.weights` asks for; None for `none`.

    `imagenet` is downloaded once into `data/weights/` and verified; anything else is the path of
    a file of torch's (tensors only: nothing is unpickled) or of safetensors.
    Raises PipelineError when the file cannot be had or is not what it should be.
    """
    if wanted == "none":
        return None
    path = imagenet_file(url) if wanted == "imagenet" else Path(wanted)
    if not path.is_file():
        raise PipelineError(f"{path}: no such weights; allowed: imagenet, none, or a file's path")
    return Weights(_read(path), sha256_of(path))


def imagenet_file(url: str) -> Path:
    """Return the path of the published weights, downloaded when they are not there.

    Raises PipelineError, one line, when there is no network or the bytes are others.
    """
    path = weights_folder() / url.rsplit("/", 1)[1]
    published = path.stem.rsplit("-", 1)[1]

    def check(file: Path) -> None:
        if not sha256_of(file).startswith(published):
            raise PipelineError(f"{file}: its sha256 does not begin with {published}; delete it")

    if path.exists():
        check(path)
        return path
    try:
        download(url, [], path, sha256=None, max_bytes=MAX_BYTES, check=check)
    except PipelineError as error:
        raise PipelineError(
            f"weights are imagenet but cannot be had: {error.message}; put {path.name} into "
            f"{path.parent}, or set weights to none"
        ) from error
    return path


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        first = str(error).splitlines()[0]
        raise PipelineError(f"{path}: not a file of weights: {first}") from error
    if not isinstance(state, dict):
        raise PipelineError(f"{path}: not a file of weights: holds {type(state).__name__}")
    return state
