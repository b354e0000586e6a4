"""The device that a network runs on, and how it computes there."""

from __future__ import annotations

import ctypes
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from pipeline.core.errors import PipelineError
from pipeline.core.params import Train
from pipeline.model.small_convs import SmallConvs

# On import, fastai scripts a function with torch, which warns about it on every run.
warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

# Pixels in a batch. Below this, more threads gain little, and on a busy machine they wait for each
# other: one thread took 40 s, two took minutes.
SMALL_STEP = 100_000
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # from glibc's malloc.h


@dataclass(frozen=True)
class Compute:
    """Where and how a network is trained."""

    device: torch.device
    dtype: torch.dtype | None  # of autocast; None: float32 throughout
    channels_last: bool
    is_compiled: bool = False
    small_maps: bool = False  # compute convolutions of small feature maps as matrix products
    is_fused: bool = False  # whether the optimiser's step is fused
    tries_kernels: bool = False  # cuDNN measures its kernels and takes the fastest
    rank: int = 0  # number of this process
    ranks: int = 1  # processes that share every batch

    def contexts(self) -> list[Callable[[], AbstractContextManager[Any]]]:
        """Return the context managers for the forward pass."""
        chosen: list[Callable[[], AbstractContextManager[Any]]] = []
        if self.dtype is not None:
            chosen.append(partial(torch.autocast, self.device.type, dtype=self.dtype))
        if self.small_maps:
            chosen.append(SmallConvs)
        return chosen

    def __str__(self) -> str:
        """Return one line for the log."""
        name = self.device.type
        if name == "cuda":
            name = f"cuda ({torch.cuda.get_device_name(self.device)})"
        elif name == "cpu":
            name = f"cpu ({torch.get_num_threads()} threads)"
        order = "channels-last" if self.channels_last else "channels-first"
        fused = "fused optimizer" if self.is_fused else "plain optimizer"
        compiled = "compiled" if self.is_compiled else "not compiled"
        tried = ", cuDNN benchmark (last digits differ between runs)" if self.tries_kernels else ""
        small = ", fast small convolutions" if self.small_maps else ""
        several = f"{self.ranks} processes, each on " if self.ranks > 1 else ""
        precision = "fp32" if self.dtype is None else "bf16"
        return f"{several}{name}, {precision}, {order}, {fused}, {compiled}{small}{tried}"


def pick_device(wanted: str = "auto") -> torch.device:
    """Return the requested device; `auto` means cuda, else mps, else the CPU.

    Raises PipelineError if the requested device is not available.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        return torch.device(next(name for name, is_there in there.items() if is_there))
    if not there[wanted]:
        available = ", ".join(name for name, is_there in there.items() if is_there)
        raise PipelineError(f"device {wanted} is not available; torch found: {available}")
    return torch.device(wanted)


def choose(params: Train) -> Compute:
    """Return where and how to train: as `params` say, or the fastest way for `auto`."""
    device = pick_device(params.device)
    is_cpu = device.type == "cpu"
    if is_cpu:
        keep_freed_memory()
        if params.batch_size * params.size**2 < SMALL_STEP:
            torch.set_num_threads(1)
    fast = params.precision == "bf16" or (params.precision == "auto" and has_fast_bf16(device))

    def switched(wanted: str, pays: bool) -> bool:
        return pays if wanted == "auto" else wanted == "on"

    is_mps, is_cuda = device.type == "mps", device.type == "cuda"
    tries = switched(params.cudnn_benchmark, is_cuda) and is_cuda
    torch.backends.cudnn.benchmark = tries
    if is_cuda:
        torch.set_float32_matmul_precision("high")
    # convolutions are faster in channels-last, but not on mps
    channels_last = switched(params.channels_last, not is_mps)
    is_compiled = switched(params.compile, pays=False)
    return Compute(
        device,
        torch.bfloat16 if fast else None,
        channels_last=channels_last,
        is_compiled=is_compiled,
        small_maps=is_cpu and switched(params.small_maps, channels_last and not is_compiled),
        is_fused=switched(params.fused, not is_mps),
        tries_kernels=tries,
    )


def keep_freed_memory() -> None:
    """Make glibc keep freed memory for the next step; do nothing with another C library.

    By default glibc returns large blocks to the system, and every training step allocates them
    again: 50,000 page faults a step, which take 10% to 33% of its time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library; Windows
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def has_fast_bf16(device: torch.device) -> bool:
    """Return whether the device computes bf16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":  # private names in torch, which may disappear
        asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, name, bool)() for name in asked)
    return False
