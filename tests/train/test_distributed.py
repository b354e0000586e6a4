"""Two processes, started as people start them, train what one process trains."""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pipeline.core.errors import PipelineError
from pipeline.core.params import Train
from pipeline.model.device import Compute
from pipeline.train.distributed import first_goes_first, join, leave, only_first_prints, summed
from pipeline.train.stage import train
from tests.worlds import SHAPES, write_world

Project = Callable[..., Path]
TINY: dict[str, Any] = {
    "size": 32,
    "batch_size": 24,
    "frozen_epochs": 0,
    "unfrozen_epochs": 2,
    "lr_find_steps": 4,
    "checkpoint_s": 0,
    "device": "cpu",
    "precision": "fp32",
    "dropout": 0,
    "ema": 0.5,
}
WORLD = {shape: {"train": 12, "valid": 4} for shape in SHAPES} | {"disc": {"train": 13, "valid": 3}}
LAUNCH = ["accelerate", "launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
LAUNCH += ["--mixed_precision", "bf16", "--dynamo_backend", "no", "--main_process_port", "0"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}

# A CPU's norms see a process's share of the batch; here they are as in use, and see nothing.
WITHOUT_NORMS = """
from torch import nn
nn.modules.batchnorm._BatchNorm.train = lambda self, mode=True: nn.Module.train(self, False)
from pipeline.train.stage import main
main(["two"])
"""


def history_of(dataset: str) -> list[list[float]]:
    path = Path("data") / dataset / "reports" / "train" / "history.csv"
    rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines())
    return [[float(value) for key, value in row.items() if key != "stage"] for row in rows]


def weights_of(dataset: str) -> dict[str, torch.Tensor]:
    return dict(load_file(Path("data") / dataset / "model" / "model.safetensors"))


def test_two_processes_give_the_losses_of_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project(**{"train.two": TINY})
    for dataset in ("one", "two"):
        write_world(root, dataset, WORLD)
    (root / "two.py").write_text(WITHOUT_NORMS, encoding="utf-8")
    done = subprocess.run(
        [*LAUNCH, "two.py"], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    norms = nn.modules.batchnorm._BatchNorm
    monkeypatch.setattr(norms, "train", lambda norm, mode=True: nn.Module.train(norm, False))
    torch.set_num_threads(1)
    train("one", Train.model_validate(TINY))
    for ours, theirs in zip(history_of("one"), history_of("two"), strict=True):
        assert theirs == pytest.approx(ours, abs=1e-4)
    one, two = weights_of("one"), weights_of("two")
    assert all(torch.allclose(one[name], two[name], atol=1e-3) for name in one)
    assert done.stderr.count("2 processes, each on cpu") == done.stderr.count("epoch 1:") == 1
    assert not list((root / "data" / "two" / "checkpoints").iterdir())


def start_two(dataset: str) -> list[subprocess.Popen[str]]:
    """Start the two processes of a training, as the launcher does; they can be killed singly."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    where = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "pipeline.train", dataset],
            env=ENVIRONMENT | where | {"RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]


def ends(children: list[subprocess.Popen[str]]) -> list[str]:
    said = [child.communicate(timeout=200)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], said
    return said


@pytest.mark.slow
def test_two_processes_killed_go_on_to_the_same_end(project: Project) -> None:
    root = project(**{"train.whole": TINY, "train.killed": TINY})
    for dataset in ("whole", "killed"):
        write_world(root, dataset, WORLD)
    ends(start_two("whole"))
    state = root / "data" / "killed" / "checkpoints" / "state.pt"
    children = start_two("killed")
    try:
        give_up = time.monotonic() + 120
        while not state.exists():
            assert not any(child.poll() for child in children) and time.monotonic() < give_up
            time.sleep(0.002)
    finally:
        for child in children:
            child.kill()
            child.communicate()
    first, second = ends(start_two("killed"))
    assert "resuming after epoch 1" in first and "epoch" not in second
    assert history_of("whole") == history_of("killed")
    whole, killed = weights_of("whole"), weights_of("killed")
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


def test_without_accelerate_several_processes_are_one_clear_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(PipelineError, match=r"^accelerate is not installed; run: pip install"):
        join(Compute(torch.device("cpu"), None, channels_last=False))


def test_one_process_needs_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    alone = Compute(torch.device("cpu"), None, channels_last=False)
    assert join(alone) == alone
    with first_goes_first(alone), only_first_prints(alone):
        print("heard", file=sys.stderr)
    leave(alone)
    assert capsys.readouterr().err == "heard\n"
    assert summed(torch.ones(2), alone.device).tolist() == [1, 1]
