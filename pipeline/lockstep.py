"""fastai's distributed training for loaders that take their share of a batch themselves."""

from __future__ import annotations

from typing import Any

import torch
from fastai.distributed import DistributedTrainer


class Lockstep(DistributedTrainer):
    """Averages gradients over all processes (torch's DistributedDataParallel, by accelerate).

    On GPUs the norms see the whole batch; torch has no such norms for CPUs, where each process's
    see its share. Only training goes through DistributedDataParallel, which makes processes wait
    for each other: what is validated is not shared out evenly.
    """

    def _wrap_dl(self, dl: Any) -> Any:
        return dl

    def before_fit(self) -> None:
        """Wrap the network; what is frozen now stays so."""
        self.plain = self.learn.model
        super().before_fit()
        self.wrapped = self.learn.model
        self.learn.model = self.plain = self.wrapped.module

    def before_train(self) -> None:
        """Wait for the others in every step from here."""
        self.learn.model = self.wrapped

    def after_train(self) -> None:
        """Wait no more."""
        self.learn.model = self.plain

    def before_validate(self) -> None:
        """Judge what will be saved: with the first process's statistics of norms that saw a share;
        weights are the same in all."""
        for buffer in self.learn.model.buffers():
            torch.distributed.broadcast(buffer, 0)

    def after_fit(self) -> None:
        """Leave the network as it came; a fit may have ended in a batch."""
        self.learn.model = self.plain
        self.accelerator.free_memory()
