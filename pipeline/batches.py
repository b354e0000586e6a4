"""Whole batches of pictures that are in memory, drawn and changed on the device."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import augment
from pipeline.network import Card, normaliser
from pipeline.params import Augment
from pipeline.pictures import Pictures, Pixels


def seed_of(*identity: object) -> int:
    """Return a seed that depends on what it is for, not on what was drawn before it."""
    return int.from_bytes(hashlib.sha256(repr(identity).encode()).digest()[:8], "big") >> 1


class Batches:
    """A part's pictures as whole batches on the device, for fastai's `DataLoaders`.

    With `augmenting` the order and the changes are drawn anew in every epoch, from `seed` and the
    epoch's number alone, and what does not fill a batch waits for another epoch; else pictures
    come unchanged, in order, all of them. `halve` makes batches smaller that do not fit.
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
    ) -> None:
        self.card, self.device, self.augmenting = card, device, augmenting
        self.n = len(targets)
        self.whole = self.bs = max(1, min(batch_size, self.n))
        self.pixels, self.place = resident(stored.pixels, device)
        self.aspects = torch.from_numpy(stored.aspects)
        self.targets = torch.from_numpy(targets).to(device)
        self.epoch_seed = 0  # set before every epoch
        self.dataset = self  # fastai asks it for a loss function

    def __len__(self) -> int:
        if self.augmenting:
            return self.n // self.whole * (self.whole // self.bs)
        return (self.n + self.bs - 1) // self.bs

    def halve(self) -> bool:
        """Give half as much at a time, or what divides a batch evenly; False where nothing does."""
        smaller = [each for each in range(2, self.bs // 2 + 1) if self.whole % each == 0]
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
        for start in range(0, len(self) * self.bs, self.bs):
            rows = slice(start, start + self.bs)
            picked = order[rows]
            values = self.pixels[picked].to(self.device, non_blocking=True).float()
            if draws is not None:
                changed = augment.apply(values / 255, draws.at(rows), self.card.view)
                values = changed * 255
            yield values * scale + shift, self.targets[picked.to(self.device)]


def resident(pixels: Pixels, device: torch.device) -> tuple[Tensor, str]:
    """Put pictures where batches are taken from fastest; return them and that place.

    On the device while they take less than half of what is free there; else in memory (pinned,
    for a GPU to read from) while they take less than half of it; else they stay in the cache file,
    mapped. The network, its activations and the other processes need the other halves.
    """
    size = pixels.nbytes
    if device.type == "cuda" and size < torch.cuda.mem_get_info(device)[0] / 2:
        return torch.from_numpy(np.array(pixels)).to(device), "on the device"
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size < memory / 2:
        there = torch.from_numpy(np.array(pixels))
        if device.type == "cuda":
            return there.pin_memory(), "in memory, pinned"
        return there.to(device), "in memory"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it cannot be written to: it is not
        return torch.from_numpy(pixels), "mapped from the cache file"
