"""Whole batches of pictures that are in memory, drawn and changed on the device."""

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

from pipeline.core.errors import PipelineError
from pipeline.core.params import Augment
from pipeline.model.inputs import Pictures, Pixels
from pipeline.model.network import Card, normaliser
from pipeline.train import augment


def seed_of(*identity: object) -> int:
    """Return a seed that depends on what it is for, not on what was drawn before it."""
    return int.from_bytes(hashlib.sha256(repr(identity).encode()).digest()[:8], "big") >> 1


class Batches:
    """A part's pictures as whole batches on the device, for fastai's `DataLoaders`.

    With `augmenting` the order and the changes are drawn anew in every epoch, from `seed` and the
    epoch's number alone, and what does not fill a batch waits for another epoch; else pictures
    come unchanged, in order, all of them. `halve` makes batches smaller that do not fit.

    The process of number `rank` of `ranks` gets its share of every batch, or of the pictures that
    come unchanged. Raises PipelineError where that is less than two of a batch: norms need two.
    """

    def __init__(
        self,
        stored: Pictures,
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
                f"a batch of {min(batch_size, self.n)} gives {ranks} processes less than two "
                f"pictures each: raise batch_size, or start fewer"
            )
        self.whole = self.share * ranks  # of a step, in all processes
        self.pixels, self.place = resident(stored.pixels, device, ranks)
        self.aspects = torch.from_numpy(stored.aspects)
        self.targets = torch.from_numpy(targets).to(device)
        self.epoch_seed = 0  # set before every epoch
        self.dataset = self  # fastai asks it for a loss function

    def __len__(self) -> int:
        return len(self._rows())

    def _rows(self) -> list[slice]:
        """Return which places in the order come at a time."""
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
        """Give half as much at a time, or what divides a share evenly; False where nothing does."""
        smaller = [each for each in range(2, self.bs // 2 + 1) if self.share % each == 0]
        self.bs = max(smaller, default=self.bs)
        return bool(smaller)

    def __str__(self) -> str:
        """Say where the pictures are, and how much they take."""
        return f"{self.n} pictures, {self.pixels.nbytes / 1e9:.2f} GB, {self.place}"

    def to(self, device: torch.device) -> None:
        """Accept fastai's call; everything is in its place since the beginning."""

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
    """Put pictures where batches are taken from fastest; return them and that place.

    On the device while they take less than half of what is free there; else in memory (pinned,
    for a GPU to read from) while they take less than half of it, once for each of the `ranks`
    processes; else they stay in the cache file, mapped. The network, its activations and other
    work need the other halves.
    """
    size = pixels.nbytes
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        if size < free / 2:
            there = torch.from_numpy(np.array(pixels)).to(device)
            return there, f"on the device: less than half of its {free / 1e9:.1f} GB free"
    memory = memory_limit()
    of = f"half of {memory / 1e9:.1f} GB of memory{f' for {ranks} processes' * (ranks > 1)}"
    if size * ranks < memory / 2:
        there = torch.from_numpy(np.array(pixels))
        if device.type == "cuda":
            return there.pin_memory(), f"in memory, pinned: less than {of}"
        return there.to(device), f"in memory: less than {of}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it cannot be written to: it is not
        return torch.from_numpy(pixels), f"mapped from the cache file: not less than {of}"


def memory_limit(cgroup: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Return the bytes of memory that this process may use: the machine's, or its container's."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(whole, int(cgroup.read_text(encoding="ascii")))
    except (OSError, ValueError):  # not Linux, or without a limit ("max")
        return whole
