"""Distributed training: processes that `accelerate launch` starts, one for each GPU.

Each process takes its share of every batch. Only the first one prints and writes files. All see
the same files: they run on one machine, or share a file system.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import torch
from torch import Tensor

from pipeline.core.errors import not_installed
from pipeline.model.device import Compute

PATIENCE = timedelta(days=1)  # the others wait while the first process decodes all images


def join(compute: Compute) -> Compute:
    """Return the device and rank of this process, once all processes have started.

    Raises PipelineError if accelerate is not installed.
    """
    ranks = int(os.environ.get("WORLD_SIZE", "1"))  # set by torch's and accelerate's launchers
    if ranks == 1:
        return compute
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise not_installed("accelerate", "gpus") from error
    state = PartialState(cpu=compute.device.type == "cpu", timeout=PATIENCE)
    return replace(compute, device=state.device, rank=state.process_index, ranks=ranks)


@contextmanager
def first_goes_first(compute: Compute) -> Iterator[None]:
    """Run the block in the first process, then in the others, which find its files."""
    if compute.ranks == 1:
        yield
        return
    from accelerate import PartialState

    with PartialState().main_process_first():
        yield


@contextmanager
def only_first_prints(compute: Compute) -> Iterator[None]:
    """Silence the output of all processes but the first; errors are still raised."""
    if not compute.rank:
        yield
        return
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, redirect_stderr(nowhere):
        yield


def leave(compute: Compute) -> None:
    """End the process group; from here on the processes are independent."""
    if compute.ranks > 1:
        torch.distributed.destroy_process_group()


def summed(values: Tensor, device: torch.device) -> Tensor:
    """Sum a tensor over all processes; return it on the CPU. `device` is this process's device."""
    if not torch.distributed.is_initialized():
        return values
    there = values.to(device)  # NCCL can only sum what is on its device
    torch.distributed.all_reduce(there)
    return there.cpu()
