"""What a machine computes on, and how: every choice is said, none is silent."""

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
from pipeline.model.small_convs import SmallMaps

# fastai scripts a function when it is imported, and torch says so on every run.
warnings.filterwarnings("ignore", message=".*torch.jit.script.*", category=FutureWarning)

# Pixels of a batch. Below it more threads gain little, and on a machine that does other work they
# wait for each other: one thread took 40 s where two took minutes.
SMALL_STEP = 100_000
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h


@dataclass(frozen=True)
class Compute:
    """Where and how a network is trained."""

    device: torch.device
    dtype: torch.dtype | None  # of autocast; None: float32 throughout
    channels_last: bool
    is_compiled: bool = False
    small_maps: bool = False  # their convolutions are products
    is_fused: bool = False  # the optimiser's step
    tries_kernels: bool = False  # cuDNN does
    rank: int = 0  # of this process among
    ranks: int = 1  # that share every batch

    def contexts(self) -> list[Callable[[], AbstractContextManager[Any]]]:
        """Return what the forward pass runs within."""
        chosen: list[Callable[[], AbstractContextManager[Any]]] = []
        if self.dtype is not None:
            chosen.append(partial(torch.autocast, self.device.type, dtype=self.dtype))
        if self.small_maps:
            chosen.append(SmallMaps)
        return chosen

    def __str__(self) -> str:
        """Describe the choice in a line."""
        name = self.device.type
        if name == "cuda":
            name = f"cuda ({torch.cuda.get_device_name(self.device)})"
        elif name == "cpu":
            name = f"cpu ({torch.get_num_threads()} threads)"
        order = "channels-last" if self.channels_last else "channels-first"
        fused = "fused optimizer" if self.is_fused else "plain optimizer"
        compiled = "compiled" if self.is_compiled else "not compiled"
        tried = ", cuDNN tries kernels: last digits may differ by run" if self.tries_kernels else ""
        small = ", small maps as products" if self.small_maps else ""
        several = f"{self.ranks} processes, each " if self.ranks > 1 else ""
        precision = "fp32" if self.dtype is None else "bf16"
        return f"{several}on {name}, {precision}, {order}, {fused}, {compiled}{small}{tried}"


def pick_device(wanted: str = "auto") -> torch.device:
    """Return the device to compute on: the wanted one, or cuda, else mps, else the CPU.

    Raises PipelineError when the wanted one is not there.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        return torch.device(next(name for name, is_there in there.items() if is_there))
    if not there[wanted]:
        raise PipelineError(f"device is {wanted}, which torch does not find on this machine")
    return torch.device(wanted)


def choose(params: Train) -> Compute:
    """Return where and how to train: what `params` say, and for `auto` what pays."""
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
    # mps gains nothing from channels-last; the others' convolutions want it
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
    """Have glibc keep what is freed for the next step, where this process uses glibc.

    It gives large blocks back to the system otherwise, and every step of a training takes them
    anew: 50,000 page faults a step, a tenth to a third of its time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library; Windows
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def has_fast_bf16(device: torch.device) -> bool:
    """Tell whether bf16 is computed by the device, not imitated."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":  # torch tells by private names alone, which may go
        asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, name, bool)() for name in asked)
    return False
