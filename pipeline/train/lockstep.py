"""fastai's distributed training for loaders that take their own share of every batch.

A module of its own: fastai.distributed cannot be imported without accelerate, which is an extra.
"""

from __future__ import annotations

from typing import Any

import torch
from fastai.distributed import DistributedTrainer


class Lockstep(DistributedTrainer):
    """Average gradients over all processes with torch's DistributedDataParallel.

    On GPUs, norm layers see the whole batch. On CPUs torch has no such norm layers, so each process
    sees its share. Validation does not use DistributedDataParallel: it makes processes wait for
    each other, and the validation set is not divided evenly.
    """

    def _wrap_dl(self, dl: Any) -> Any:
        return dl

    def before_fit(self) -> None:
        """Wrap the network; frozen layers stay frozen."""
        self.plain = self.learn.model
        super().before_fit()
        self.wrapped = self.learn.model
        self.learn.model = self.plain = self.wrapped.module

    def before_train(self) -> None:
        """Synchronise the processes in every step."""
        self.learn.model = self.wrapped

    def after_train(self) -> None:
        """Stop synchronising."""
        self.learn.model = self.plain

    def before_validate(self) -> None:
        """Validate what will be saved: all processes take the first one's norm statistics.

        The weights are equal in all processes.
        """
        for buffer in self.learn.model.buffers():
            torch.distributed.broadcast(buffer, 0)

    def after_fit(self) -> None:
        """Restore the plain network; a fit may have been interrupted within a batch."""
        self.learn.model = self.plain
        self.accelerator.free_memory()
