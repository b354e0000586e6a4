"""Several processes that train one network, as `accelerate launch` starts them, one a GPU.

Each takes its share of every batch; the first alone speaks and writes. They see the same files:
one machine, or a file system that all share.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from fastai.distributed import DistributedTrainer
from torch import Tensor

from pipeline.core.errors import not_installed
from pipeline.model.device import Compute

PATIENCE = timedelta(days=1)  # the others wait while the first decodes everything


def join(compute: Compute) -> Compute:
    """Return what this process computes on; where it is one of several, once all are there.

    Raises PipelineError when accelerate is missing.
    """
    ranks = int(os.environ.get("WORLD_SIZE", "1"))  # torch's and accelerate's word for it
    if ranks == 1:
        return compute
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise not_installed("accelerate", "gpus") from error
    state = PartialState(cpu=compute.device.type == "cpu", timeout=PATIENCE)
    return replace(compute, device=state.device, rank=state.process_index, ranks=ranks)


@contextmanager
def first_ahead(compute: Compute) -> Iterator[None]:
    """Let the first process go ahead: what it downloads and decodes is there for the others."""
    if compute.ranks == 1:
        yield
        return
    from accelerate import PartialState

    with PartialState().main_process_first():
        yield


@contextmanager
def first_speaks(compute: Compute) -> Iterator[None]:
    """Silence what the other processes say of their work; errors are raised, and heard."""
    if not compute.rank:
        yield
        return
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stderr(nowhere):
        yield


def leave(compute: Compute) -> None:
    """End what the processes have in common: from here each is alone."""
    if compute.ranks > 1:
        torch.distributed.destroy_process_group()


def summed(values: Tensor, device: torch.device) -> Tensor:
    """Return the sum over all processes of a tensor on the CPU; `device` is this process's."""
    if not torch.distributed.is_initialized():
        return values
    there = values.to(device)  # NCCL adds up nothing that lies elsewhere
    torch.distributed.all_reduce(there)
    return there.cpu()


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
