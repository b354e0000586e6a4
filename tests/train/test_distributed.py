"""Two processes train what one process trains; they are started as people start them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.core.errors import PipelineError
from pipeline.dataset.paths import checkpoint_path
from pipeline.model.device import Compute
from pipeline.train.distributed import first_goes_first, join, leave, only_first_prints, summed
from pipeline.train.stage import train
from tests.training import TINY, are_equal, history_of, tiny, weights_of
from tests.worlds import SHAPES, write_world

Project = Callable[..., Path]
CHANGES = {
    "frozen_epochs": 0,
    "lr_find_steps": 4,
    "precision": "fp32",
    "dropout": 0,
    "ema": 0.5,
}
WORLD = {shape: {"train": 12, "valid": 4} for shape in SHAPES} | {"disc": {"train": 13, "valid": 3}}
LAUNCH = ["accelerate", "launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
LAUNCH += ["--mixed_precision", "bf16", "--dynamo_backend", "no", "--main_process_port", "0"]
ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(Path(__file__).parent.parent.parent),
}

# The stage with a small network.
SMALL = """
import pytest
from tests.training import use_small_network
from pipeline.train.stage import main
use_small_network(pytest.MonkeyPatch())
main()
"""
# A CPU's norm layers see a process's share of the batch. Here they are as in use and see nothing.
WITHOUT_NORMS = """
from torch import nn
nn.modules.batchnorm._BatchNorm.train = lambda self, mode=True: nn.Module.train(self, False)
"""


def numbers_of(dataset: str) -> list[list[float]]:
    """Return the numbers in a dataset's history.csv."""
    rows = history_of(dataset)
    return [[float(value) for key, value in row.items() if key != "stage"] for row in rows]


@pytest.mark.slow
@pytest.mark.usefixtures("small_network")
def test_two_processes_give_the_losses_of_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project(**{"train.two": TINY | CHANGES})
    for dataset in ("one", "two"):
        write_world(root, dataset, WORLD)
    (root / "two.py").write_text(WITHOUT_NORMS + SMALL, encoding="utf-8")
    done = subprocess.run(
        [*LAUNCH, "two.py", "two"], env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    norms = nn.modules.batchnorm._BatchNorm
    monkeypatch.setattr(norms, "train", lambda norm, mode=True: nn.Module.train(norm, False))
    train("one", tiny(**CHANGES))
    for ours, theirs in zip(numbers_of("one"), numbers_of("two"), strict=True):
        assert theirs == pytest.approx(ours, abs=1e-4)
    one, two = weights_of("one"), weights_of("two")
    assert all(torch.allclose(one[name], two[name], atol=1e-3) for name in one)
    assert done.stderr.count("2 processes, each on cpu") == done.stderr.count("epoch 1:") == 1
    assert not list(checkpoint_path("two").parent.iterdir())


def start_two(dataset: str) -> list[subprocess.Popen[str]]:
    """Start the two processes of a training, as the launcher does; they can be killed singly."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    where = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            [sys.executable, "-c", SMALL, dataset],
            env=ENVIRONMENT | where | {"RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]


def outputs(children: list[subprocess.Popen[str]]) -> list[str]:
    """Wait until both processes end without an error; return their outputs."""
    errors = [child.communicate(timeout=200)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0], errors
    return errors


@pytest.mark.slow
def test_two_killed_processes_resume_to_the_same_result(project: Project) -> None:
    params = TINY | CHANGES | {"unfrozen_epochs": 6}  # enough that the kill comes before the end
    root = project(**{"train.whole": params, "train.killed": params})
    for dataset in ("whole", "killed"):
        write_world(root, dataset, WORLD)
    outputs(start_two("whole"))
    checkpoint = checkpoint_path("killed")
    children = start_two("killed")
    try:
        deadline = time.monotonic() + 120
        while not checkpoint.exists():
            assert not any(child.poll() for child in children) and time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        for child in children:
            child.kill()
            child.communicate()
    first, second = outputs(start_two("killed"))
    assert "resuming after epoch " in first and "epoch" not in second
    assert numbers_of("whole") == numbers_of("killed")
    assert are_equal(weights_of("whole"), weights_of("killed"))


def test_several_processes_without_accelerate_are_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(PipelineError, match=r"^accelerate is not installed; run: pip install"):
        join(Compute(torch.device("cpu"), None, channels_last=False))


def test_one_process_waits_for_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    alone = Compute(torch.device("cpu"), None, channels_last=False)
    assert join(alone) == alone
    with first_goes_first(alone), only_first_prints(alone):
        print("printed", file=sys.stderr)
    leave(alone)
    assert capsys.readouterr().err == "printed\n"
    assert summed(torch.ones(2), alone.device).tolist() == [1, 1]
