"""Checkpoints: the state of a training run on disk, so that an interrupted run can resume."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from pipeline.core.files import replacing


@dataclass
class State:
    """Everything that a training run needs to resume; `purpose` identifies the run."""

    purpose: str  # hash of params, samples and versions; only runs with the same hash may resume
    stage: int = 0
    epoch: int = 0  # number of epochs completed in this stage
    rates: dict[int, Any] = field(default_factory=dict)  # of the stages that have started
    suggested: dict[int, float | None] = field(default_factory=dict)  # by the learning rate finder
    history: list[list[Any]] = field(default_factory=list)
    finder: list[list[Any]] = field(default_factory=list)
    model: dict[str, Any] = field(default_factory=dict)
    average: dict[str, Any] = field(default_factory=dict)  # of the weights, if params ask for it
    optimiser: dict[int, dict[str, Any]] = field(default_factory=dict)


def save_state(path: Path, state: State) -> None:
    """Write a checkpoint, atomically."""
    with replacing(path) as temporary:
        torch.save(asdict(state), temporary)


def load_state(path: Path, purpose: str) -> State:
    """Return the state of a checkpoint with this purpose, else a new state."""
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
        state = State(**values)
    except Exception:  # a damaged file can raise anything; training then starts from the beginning
        return State(purpose)
    return state if state.purpose == purpose else State(purpose)
