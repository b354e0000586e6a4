"""A training gives one result for one seed, even if it is interrupted, and writes all files."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.core.errors import PipelineError
from pipeline.core.files import read_json, sha256_of
from pipeline.dataset.paths import checkpoint_path, model_folder, plots_folder, report_path
from pipeline.dataset.pen_settings import PenSettings
from pipeline.dataset.split_table import label_indices, read_parts
from pipeline.model.inputs import decoded_images
from pipeline.model.metrics import losses, softmax
from pipeline.model.network import ConcatPool, build, load_model, predict_logits
from pipeline.train.callbacks import Saver
from pipeline.train.stage import train
from tests.training import TINY, WORLD, are_equal, history_of, run, tiny, weights_of
from tests.worlds import SHAPES, write_world

Project = Callable[..., Path]


@pytest.mark.slow
def test_a_resnet34_learns_and_all_files_are_written(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    root = project()
    world = {shape: {"train": 30, "valid": 10} for shape in SHAPES}
    write_world(root, "shapes", world, vary_size=True)
    metrics = run(
        batch_size=15,
        unfrozen_epochs=7,
        lr_find_steps=20,
        scratch_lr=0.01,
        augment={"flip": 0.5},
    )
    said = capsys.readouterr().err
    assert "on cpu" in said and "no pretrained weights: both stages train all layers" in said
    assert re.search(r"stage_2 \(all layers\): 840/840 img, [\d.]+ img/s, train_loss", said)
    assert metrics["stage_2"]["balanced_accuracy"] > 0.5  # chance is 0.25
    assert metrics["stage_2"]["train_loss"] < metrics["stage_1"]["train_loss"]
    assert metrics["stage_2"]["lr_suggested"] is not None
    history = history_of()
    assert [row["epoch"] for row in history] == [str(epoch) for epoch in range(1, 9)]
    assert [row["stage"] for row in history] == ["stage_1"] + ["stage_2"] * 7
    reports = plots_folder("shapes", "train")
    curve = list(csv.DictReader((reports / "lr_find.csv").read_text().splitlines()))
    rates = [float(row["lr"]) for row in curve if row["stage"] == "stage_2"]
    assert len(rates) > 6 and rates == sorted(rates)
    assert {path.name for path in reports.iterdir()} == {
        "history.csv",
        "history.png",
        "lr_find.csv",
        "lr_find.png",
    }
    model = model_folder("shapes")
    assert {path.name for path in model.iterdir()} == {
        "export.pkl",
        "model.json",
        "model.safetensors",
    }
    assert not list(checkpoint_path("shapes").parent.iterdir())
    _, card = load_model(model)
    assert [known.label for known in card.classes] == sorted(SHAPES)
    assert card.made["metrics"] == metrics
    assert card.made["params"]["augment"]["flip"] == 0.5 and "commit" in card.made
    assert card.made["data"]["train"]["samples"] == 120 and card.made["torch"] == torch.__version__


@pytest.mark.usefixtures("small_network")
def test_one_seed_gives_one_result_and_another_seed_another(project: Project) -> None:
    root = project()
    for dataset in ("first", "second"):
        write_world(root, dataset, WORLD)
    augment = {"rotate": 10, "elastic": 0.02, "light": 0.2, "min_area": 0.5}
    first = run("first", augment=augment, mixup=0.2)
    second = run("second", augment=augment, mixup=0.2)
    assert first == second
    assert are_equal(weights_of("first"), weights_of("second"))
    other = run("second", augment=augment, mixup=0.2, seed=9)
    assert other["stage_2"]["train_loss"] != first["stage_2"]["train_loss"]


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_same_result(project: Project) -> None:
    root = project(**{"train.killed": TINY})
    for dataset in ("whole", "killed"):
        write_world(root, dataset, WORLD)
    train("whole", tiny())
    command = [sys.executable, "-m", "pipeline.train", "killed"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    history = plots_folder("killed", "train") / "history.csv"
    checkpoint = checkpoint_path("killed")
    child = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (checkpoint.exists() and len(history.read_text().splitlines()) > 2):
            assert child.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert not model_folder("killed").exists(), "a part of a model has the name of a whole one"
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "resuming after epoch" in again.stderr
    assert read_json(report_path("killed", "train")) == read_json(report_path("whole", "train"))
    assert history_of("killed") == history_of("whole")
    assert are_equal(weights_of("whole"), weights_of("killed"))


def stop_after(epochs: int, monkeypatch: pytest.MonkeyPatch, dataset: str, ema: float = 0) -> None:
    """Train a dataset and interrupt it after so many epochs."""
    save, numbers = Saver.after_validate, count(1)

    def save_and_stop(saver: Saver) -> None:
        save(saver)
        if next(numbers) == epochs:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Saver, "after_validate", save_and_stop)
        run(dataset, ema=ema)


@pytest.mark.usefixtures("small_network")
@pytest.mark.parametrize("ema", [0, 0.9])
def test_a_training_stopped_after_any_epoch_resumes_to_the_same_result(
    project: Project, monkeypatch: pytest.MonkeyPatch, ema: float
) -> None:
    root = project()
    write_world(root, "whole", WORLD)
    whole = run("whole", ema=ema)
    for epochs in (1, 2, 3):  # the end of a stage, the middle of one, the very end
        dataset = f"stopped-{epochs}"
        write_world(root, dataset, WORLD)
        stop_after(epochs, monkeypatch, dataset, ema)
        assert run(dataset, ema=ema) == whole
        assert are_equal(weights_of("whole"), weights_of(dataset))


@pytest.mark.usefixtures("small_network")
def test_the_validated_weights_are_saved_and_are_an_average_with_ema(
    project: Project,
) -> None:
    root = project()
    write_world(root, "shapes", WORLD)
    plain = run(precision="fp32") and weights_of()
    latest = run(precision="fp32", ema=1e-9) and weights_of()
    assert all(torch.allclose(latest[name], plain[name], atol=1e-6) for name in plain)
    metrics = run(precision="fp32", ema=0.9)
    assert not torch.allclose(weights_of()["1.8.weight"], plain["1.8.weight"], atol=1e-6)
    network, card = load_model(model_folder("shapes"))
    part = read_parts("shapes")["valid"]
    pixels = decoded_images("shapes", "valid", part.sample_ids, card.view).pixels
    logits = predict_logits(network, pixels, card, torch.device("cpu"))
    actual = label_indices(part.labels, [known.label for known in card.classes])
    assert losses(softmax(logits), actual).mean() == pytest.approx(
        metrics["stage_2"]["valid_loss"], abs=1e-5
    )


@pytest.mark.usefixtures("small_network")
@pytest.mark.parametrize("is_damaged", [True, False])
def test_a_damaged_checkpoint_or_one_of_other_params_is_not_resumed(
    project: Project,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    is_damaged: bool,
) -> None:
    write_world(project(), "shapes", WORLD)
    stop_after(1, monkeypatch, "shapes")
    if is_damaged:
        checkpoint = checkpoint_path("shapes")
        checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    run(frozen_epochs=1 if is_damaged else 0)
    assert "resuming" not in capsys.readouterr().err
    stages = [row["stage"] for row in history_of()]
    assert stages == ["stage_1"] * is_damaged + ["stage_2"] * 2


@pytest.mark.usefixtures("small_network")
def test_with_pretrained_weights_stage_1_freezes_the_body(project: Project) -> None:
    root = project()
    write_world(root, "shapes", WORLD)
    torch.manual_seed(3)
    given = {f"0.{name}": value for name, value in build(4)[0].state_dict().items()}
    torch.save(given, root / "body.pth")
    metrics = run(weights=str(root / "body.pth"), unfrozen_epochs=0, frozen_epochs=1)
    assert metrics["stage_1"]["layers"] == "head"
    trained = weights_of()
    convolutions = [name for name in given if given[name].dim() == 4]
    assert convolutions and all(torch.equal(trained[name], given[name]) for name in convolutions)
    _, card = load_model(model_folder("shapes"))
    assert card.mean == (0.485, 0.456, 0.406)  # what published weights expect
    assert card.made["weights_sha256"] == sha256_of(root / "body.pth")
    moved = run(weights=str(root / "body.pth"), unfrozen_lr=[1e-4, 1e-3])
    assert moved["stage_2"]["layers"] == "all" and moved["stage_2"]["lr"] == [1e-4, 1e-3]
    trained = weights_of()
    assert not any(torch.equal(trained[name], given[name]) for name in convolutions)


@pytest.mark.usefixtures("small_network")
def test_a_loss_that_is_not_finite_stops_with_its_step_and_rate(project: Project) -> None:
    root = project()
    write_world(root, "shapes", WORLD)
    broken = {f"0.{name}": value for name, value in build(4)[0].state_dict().items()}
    broken["0.0.weight"][0] = float("nan")
    torch.save(broken, root / "broken.pth")
    with pytest.raises(
        PipelineError, match=r"loss is nan in epoch 1, step 1, .* learning rate 0\.0001"
    ):
        run(weights=str(root / "broken.pth"))
    assert not (model_folder("shapes")).exists()


@pytest.mark.parametrize(
    ("world", "said"),
    [
        ({"disc": {"valid": 3}, "ring": {"valid": 3}}, "the training set is empty"),
        ({"disc": {"train": 9, "valid": 3}}, "the training set has one class, disc"),
        (
            {"disc": {"train": 5}, "ring": {"train": 5}, "bars": {"test": 2}},
            "class bars has 2 samples in test and none in train",
        ),
    ],
)
def test_a_split_that_cannot_be_learned_from_is_an_error(
    project: Project, world: dict[str, dict[str, int]], said: str
) -> None:
    root = project()
    write_world(root, "shapes", world)
    with pytest.raises(PipelineError, match=said):
        train("shapes", tiny())


@pytest.mark.usefixtures("small_network")
def test_a_model_stores_how_its_letters_were_drawn(project: Project) -> None:
    root = project()
    drawing = PenSettings(dpi=125, pen_width=3)
    write_world(root, "shapes", WORLD, about=drawing.metadata)
    run(frozen_epochs=0, unfrozen_epochs=1)
    assert load_model(model_folder("shapes"))[1].drawing == drawing


@pytest.mark.usefixtures("small_network")
def test_without_a_validation_set_there_are_no_validation_metrics(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    root = project()
    write_world(root, "shapes", {"disc": {"train": 5}, "ring": {"train": 4, "test": 2}})
    metrics = run(frozen_epochs=0, unfrozen_epochs=1)
    assert "the validation set is empty" in capsys.readouterr().err
    assert metrics["valid"] == 0 and metrics["stage_2"]["accuracy"] is None
    assert metrics["stage_2"]["train_loss"] > 0 and metrics["temperature"] == 1


@pytest.mark.usefixtures("small_network")
def test_the_rate_auto_is_the_one_that_the_finder_suggests(project: Project) -> None:
    write_world(project(), "shapes", WORLD)
    metrics = run(scratch_lr="auto", lr_find_steps=24, unfrozen_epochs=0)
    assert metrics["stage_1"]["lr"] == metrics["stage_1"]["lr_suggested"] != 0.003


def test_a_missing_file_of_weights_is_an_error(project: Project) -> None:
    root = project()
    write_world(root, "shapes", WORLD)
    with pytest.raises(PipelineError, match="weights file not found; allowed: imagenet, none"):
        train("shapes", tiny(weights="nosuch.pth"))


@pytest.mark.usefixtures("small_network")
def test_out_of_memory_halves_the_batch_until_it_fits(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = project()
    write_world(root, "shapes", WORLD)
    pool = ConcatPool.forward

    def small(layer: ConcatPool, features: torch.Tensor) -> torch.Tensor:
        if len(features) > (6 if layer.training else 12):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return pool(layer, features)

    monkeypatch.setattr(ConcatPool, "forward", small)
    metrics = run(unfrozen_epochs=1, frozen_epochs=0, ema=0.9)
    said = capsys.readouterr().err
    assert [line for line in said.splitlines() if "out of memory" in line] == [
        "out of memory: retrying with 12 images at once, 24 a step",
        "out of memory: retrying with 6 images at once, 24 a step",
    ]
    assert metrics["stage_2"]["epochs"] == 1 and len(history_of()) == 1
    with pytest.raises(PipelineError, match=r"out of memory with 7 images at once: CUDA out of"):
        run(batch_size=7)
    convolution = nn.Conv2d(2, 2, 3, padding=1, bias=False)(torch.randn(1, 2, 2, 2))
    assert convolution.grad_fn is not None
    assert convolution.grad_fn.name() == "ConvolutionBackward0", "no context is left open"


# A batch of 120 needs about 1.8 GB and a few images 0.6 GB, depending on the processor.
# The first training loads all code.
STARVED = """
import resource
from pathlib import Path
import torch
from pipeline.core.params import Train
from pipeline.model import device
from pipeline.train.stage import train
device.keep_freed_memory = lambda: None
torch.set_num_threads(1)
rest = dict(size=144, frozen_epochs=0, unfrozen_epochs=1, lr_find_steps=0, device="cpu",
            precision="fp32")
train("few", Train(batch_size=4, **rest))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 1000 * 2**20,) * 2)
train("many", Train(batch_size=120, **rest))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_with_little_memory_a_step_still_covers_the_whole_batch(project: Project) -> None:
    root = project()
    write_world(root, "few", {shape: {"train": 2} for shape in SHAPES})
    write_world(root, "many", {shape: {"train": 30, "valid": 1} for shape in SHAPES})
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", STARVED],
        # The limit is on addresses, which glibc does not give back with the memory; oneDNN then
        # finds no room. So here all that is freed goes back at once.
        env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"out of memory: retrying with \d+ images at once, 120 a step", done.stderr)
    assert read_json(report_path("many", "train"))["stage_2"]["epochs"] == 1
