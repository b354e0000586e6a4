"""Loaders: whole batches of images from memory, augmented on the device."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from pipeline.core.errors import PipelineError
from pipeline.core.params import Augment
from pipeline.model.inputs import DecodedImages, Pixels
from pipeline.model.network import Card, normaliser
from pipeline.train import augment


def seed_of(*identity: object) -> int:
    """Return a 63-bit seed that depends on `identity` alone, not on earlier draws."""
    return int.from_bytes(hashlib.sha256(repr(identity).encode()).digest()[:8], "big") >> 1


class Batches:
    """A part's images as whole batches on the device, for fastai's `DataLoaders`.

    With `augmenting`, every epoch draws a new order and new augmentations from `epoch_seed`; an
    incomplete last batch is dropped. Without it, all images come unchanged and in order. `halve`
    makes batches smaller.

    Process `rank` of `ranks` gets its share: with `augmenting`, of every batch; else of all images.
    Raises PipelineError if its share of a batch is less than two images: norm layers need two.
    """

    def __init__(
        self,
        stored: DecodedImages,
        targets: NDArray[np.int64],
        card: Card,
        device: torch.device,
        *,
        batch_size: int,
        augmenting: Augment | None = None,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.card, self.device, self.augmenting = card, device, augmenting
        self.rank, self.ranks = rank, ranks
        self.n = len(targets)
        self.share = self.bs = max(1, min(batch_size, self.n) // ranks)
        if augmenting and ranks > 1 and self.share < 2:
            raise PipelineError(
                f"a batch of {min(batch_size, self.n)} images is too small for {ranks} processes: "
                "each needs two images; raise batch_size, or start fewer processes"
            )
        self.whole = self.share * ranks  # images in a step, over all processes
        self.pixels, self.place = resident(stored.pixels, device, ranks)
        self.aspects = torch.from_numpy(stored.aspects)
        self.targets = torch.from_numpy(targets).to(device)
        self.epoch_seed = 0  # set by the Schedule callback before every epoch
        self.dataset = self  # fastai looks for a loss function on it

    def __len__(self) -> int:
        return len(self._rows())

    def _rows(self) -> list[slice]:
        """Return the slices of the order that form the batches."""
        if self.augmenting:
            first = self.rank * self.share
            spans = [
                (step + first, step + first + self.share)
                for step in range(0, self.n - self.whole + 1, self.whole)
            ]
        else:
            spans = [(self.n * self.rank // self.ranks, self.n * (self.rank + 1) // self.ranks)]
        return [
            slice(start, min(start + self.bs, end))
            for begin, end in spans
            for start in range(begin, end, self.bs)
        ]

    def halve(self) -> bool:
        """Reduce the batch to half or less, so that it divides the share; False if it cannot."""
        smaller = [each for each in range(2, self.bs // 2 + 1) if self.share % each == 0]
        self.bs = max(smaller, default=self.bs)
        return bool(smaller)

    def __str__(self) -> str:
        """Return a line for the log: the number of images, their size, and where they are."""
        return f"{self.n} images, {tqdm.format_sizeof(self.pixels.nbytes, 'B')}, {self.place}"

    def to(self, device: torch.device) -> None:
        """No-op for fastai: the data is on the device already."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        scale, shift = normaliser(self.card, self.device)
        generator = torch.Generator().manual_seed(self.epoch_seed)
        order, draws = torch.arange(self.n), None
        if self.augmenting:
            order = torch.randperm(self.n, generator=generator)
            aspects = self.aspects[order]
            draws = augment.draw(self.augmenting, self.card.view, aspects, generator)
            draws = draws.to(self.device)
        order = order.to(self.pixels.device)
        for rows in self._rows():
            picked = order[rows]
            values = self.pixels[picked].to(self.device, non_blocking=True).float()
            if draws is not None:
                changed = augment.apply(values / 255, draws.at(rows), self.card.view)
                values = changed * 255
            yield values * scale + shift, self.targets[picked.to(self.device)]


def resident(pixels: Pixels, device: torch.device, ranks: int = 1) -> tuple[Tensor, str]:
    """Put images (n, channels, side, side) where reading is fastest; return them and that place.

    They go to the device if they take less than half of its free memory. Otherwise they go into
    memory (pinned for a GPU) if one copy for each of `ranks` processes takes less than half of it.
    Otherwise they stay in the memory-mapped cache file. The other half is for the network, its
    activations and other work.
    """
    size = pixels.nbytes
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        if size < free / 2:
            there = torch.from_numpy(np.array(pixels)).to(device)
            return there, f"on the device (less than half of its free {free / 1e9:.1f} GB)"
    memory = memory_limit()
    of = f"half of {memory / 1e9:.1f} GB of memory{f' for {ranks} processes' * (ranks > 1)}"
    if size * ranks < memory / 2:
        there = torch.from_numpy(np.array(pixels))
        if device.type == "cuda":
            return there.pin_memory(), f"in pinned memory (less than {of})"
        return there.to(device), f"in memory (less than {of})"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch warns that the array is read-only
        return torch.from_numpy(pixels), f"memory-mapped from the cache (at least {of})"


def memory_limit(cgroup: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Return the bytes of memory that this process may use: the machine's or its container's."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(whole, int(cgroup.read_text(encoding="ascii")))
    except (OSError, ValueError):  # not Linux, or no limit ("max")
        return whole
