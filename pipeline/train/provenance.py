"""Provenance of a model: its data, code, libraries and parameters."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import pipeline
from pipeline.dataset.split_table import Part
from pipeline.train.training_data import Task, purpose

LIBRARIES = ("torchvision", "fastai", "numpy", "pillow")


def provenance(task: Task, metrics: dict[str, Any]) -> dict[str, Any]:
    """Return the provenance and metrics of a model, for model.json."""
    return {
        "dataset": task.dataset,
        "data": {
            name: {"samples": len(task.parts[name]), "sha256": fingerprint(task.parts[name])}
            for name in task.images
        },
        "weights_sha256": task.weights_sha256,
        "kalai": pipeline.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "torch": torch.__version__,  # includes the build, such as +cu130
        **{name: version(name) for name in LIBRARIES},
        "purpose": purpose(task.params, task.parts),
        "params": task.params.model_dump(),
        "metrics": metrics,
    }


def fingerprint(part: Part) -> str:
    """Return the sha256 of a part's sorted lines of `sample_id content_id label`."""
    rows = sorted(zip(part.sample_ids, part.content_ids, part.labels, strict=True))
    return hashlib.sha256("".join(f"{' '.join(row)}\n" for row in rows).encode()).hexdigest()


def commit() -> str | None:
    """Return the commit that last changed this code, with `-dirty` if files differ from it.

    Returns None if the code does not run from a git checkout.
    """
    answers = []
    for arguments in (["log", "-1", "--format=%H"], ["status", "--porcelain"]):
        try:
            done = subprocess.run(
                ["git", *arguments, "--", "."],
                cwd=Path(pipeline.__file__).parent,
                capture_output=True,
                check=True,
                text=True,
            )
        except (OSError, subprocess.CalledProcessError):
            return None
        answers.append(done.stdout.strip())
    last, changes = answers
    return f"{last}{'-dirty' * bool(changes)}" if last else None
