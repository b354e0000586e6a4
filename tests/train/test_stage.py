from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipeline.core.errors import PipelineError
from pipeline.core.files import read_json, sha256_of
from pipeline.core.params import Train
from pipeline.dataset.pen_settings import PenSettings
from pipeline.dataset.split_table import label_indices, read_parts
from pipeline.model.inputs import decoded_images
from pipeline.model.metrics import losses, softmax
from pipeline.model.network import ConcatPool, build, load_model, predict_logits
from pipeline.train.callbacks import Saver
from pipeline.train.stage import train
from tests.worlds import SHAPES, write_world

Project = Callable[..., Path]
TINY: dict[str, Any] = {
    "size": 32,
    "batch_size": 24,
    "frozen_epochs": 1,
    "unfrozen_epochs": 2,
    "lr_find_steps": 0,
    "checkpoint_s": 0,
    "device": "cpu",
}
WORLD = {shape: {"train": 12, "valid": 3, "test": 3} for shape in SHAPES}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    # two threads that wait for each other are many times slower beside another test's
    torch.set_num_threads(1)


def tiny(**changes: Any) -> Train:
    return Train.model_validate(TINY | changes)


def run(root: Path, dataset: str = "shapes", **changes: Any) -> dict[str, Any]:
    train(dataset, tiny(**changes))
    return dict(read_json(root / "data" / dataset / "reports" / "train.json"))


def weights_of(root: Path, dataset: str = "shapes") -> dict[str, torch.Tensor]:
    return dict(load_file(root / "data" / dataset / "model" / "model.safetensors"))


def history_of(root: Path, dataset: str = "shapes") -> list[dict[str, str]]:
    path = root / "data" / dataset / "reports" / "train" / "history.csv"
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_it_learns_and_leaves_everything_in_its_place(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    root = project()
    world = {shape: {"train": 30, "valid": 10} for shape in SHAPES}
    write_world(root, "shapes", world, vary_size=True)
    metrics = run(
        root,
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
    history = history_of(root)
    assert [row["epoch"] for row in history] == [str(epoch) for epoch in range(1, 9)]
    assert [row["stage"] for row in history] == ["stage_1"] + ["stage_2"] * 7
    reports = root / "data" / "shapes" / "reports" / "train"
    curve = list(csv.DictReader((reports / "lr_find.csv").read_text().splitlines()))
    rates = [float(row["lr"]) for row in curve if row["stage"] == "stage_2"]
    assert len(rates) > 6 and rates == sorted(rates)
    assert {path.name for path in reports.iterdir()} == {
        "history.csv",
        "history.png",
        "lr_find.csv",
        "lr_find.png",
    }
    model = root / "data" / "shapes" / "model"
    assert {path.name for path in model.iterdir()} == {
        "export.pkl",
        "model.json",
        "model.safetensors",
    }
    assert not list((root / "data" / "shapes" / "checkpoints").iterdir())
    _, card = load_model(model)
    assert [known.label for known in card.classes] == sorted(SHAPES)
    assert card.made["metrics"] == metrics
    assert card.made["params"]["augment"]["flip"] == 0.5 and "commit" in card.made
    assert card.made["data"]["train"]["samples"] == 120 and card.made["torch"] == torch.__version__


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(project: Project) -> None:
    root = project()
    for dataset in ("first", "second"):
        write_world(root, dataset, WORLD)
    augment = {"rotate": 10, "elastic": 0.02, "light": 0.2, "min_area": 0.5}
    first = run(root, "first", augment=augment, mixup=0.2)
    second = run(root, "second", augment=augment, mixup=0.2)
    assert first == second
    ours, theirs = weights_of(root, "first"), weights_of(root, "second")
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    other = run(root, "second", augment=augment, mixup=0.2, seed=9)
    assert other["stage_2"]["train_loss"] != first["stage_2"]["train_loss"]


@pytest.mark.parametrize("after_epoch", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_in_an_epoch_it_goes_on_to_the_same_end(project: Project, after_epoch: int) -> None:
    root = project(**{"train.whole": TINY, "train.killed": TINY})
    for dataset in ("whole", "killed"):
        write_world(root, dataset, WORLD)
    train("whole", tiny())
    command = [sys.executable, "-m", "pipeline.train", "killed"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    history = root / "data" / "killed" / "reports" / "train" / "history.csv"
    state = root / "data" / "killed" / "checkpoints" / "state.pt"
    child = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        give_up = time.monotonic() + 120
        while not (state.exists() and len(history.read_text().splitlines()) > after_epoch):
            assert child.poll() is None and time.monotonic() < give_up
            time.sleep(0.002)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    model = root / "data" / "killed" / "model"
    assert not model.exists()  # nothing half-written under the model's name
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "resuming after epoch" in again.stderr
    assert (root / "data" / "killed" / "reports" / "train.json").read_text() == (
        root / "data" / "whole" / "reports" / "train.json"
    ).read_text()
    assert history_of(root, "killed") == history_of(root, "whole")
    whole, killed = weights_of(root, "whole"), weights_of(root, "killed")
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


@pytest.mark.parametrize("ema", [0, 0.9])
def test_stopped_after_any_epoch_it_goes_on_to_the_same_end(
    project: Project, monkeypatch: pytest.MonkeyPatch, ema: float
) -> None:
    root = project()
    write_world(root, "whole", WORLD)
    whole = run(root, "whole", ema=ema)
    save = Saver.after_validate
    for last in (1, 2, 3):  # the end of a stage, the middle of one, the very end
        epochs = count(1)

        def save_and_stop(saver: Saver, epochs: Iterator[int] = epochs, last: int = last) -> None:
            save(saver)
            if next(epochs) == last:
                raise KeyboardInterrupt

        dataset = f"stopped-{last}"
        write_world(root, dataset, WORLD)
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(Saver, "after_validate", save_and_stop)
            run(root, dataset, ema=ema)
        assert run(root, dataset, ema=ema) == whole
        ours, theirs = weights_of(root, "whole"), weights_of(root, dataset)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_is_validated_is_what_is_saved_and_an_average_where_it_is_asked_for(
    project: Project,
) -> None:
    root = project()
    write_world(root, "shapes", WORLD)
    plain = run(root, precision="fp32") and weights_of(root)
    latest = run(root, precision="fp32", ema=1e-9) and weights_of(root)
    assert all(torch.allclose(latest[name], plain[name], atol=1e-6) for name in plain)
    metrics = run(root, precision="fp32", ema=0.9)
    assert not torch.allclose(weights_of(root)["1.8.weight"], plain["1.8.weight"], atol=1e-6)
    network, card = load_model(root / "data" / "shapes" / "model")
    part = read_parts("shapes")["valid"]
    pixels = decoded_images("shapes", "valid", part.sample_ids, card.view).pixels
    logits = predict_logits(network, pixels, card, torch.device("cpu"))
    actual = label_indices(part.labels, [known.label for known in card.classes])
    assert losses(softmax(logits), actual).mean() == pytest.approx(
        metrics["stage_2"]["valid_loss"], abs=1e-5
    )


def test_a_checkpoint_of_another_purpose_is_not_gone_on_from(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    root = project()
    write_world(root, "shapes", WORLD)
    run(root)
    state = root / "data" / "shapes" / "checkpoints" / "state.pt"
    state.write_bytes(b"half a file")
    run(root, frozen_epochs=0, unfrozen_epochs=1)
    assert "going on" not in capsys.readouterr().err
    assert [row["stage"] for row in history_of(root)] == ["stage_2"]


def test_with_weights_the_body_is_frozen_first(project: Project) -> None:
    root = project()
    write_world(root, "shapes", WORLD)
    torch.manual_seed(3)
    given = {f"0.{name}": value for name, value in build(4)[0].state_dict().items()}
    torch.save(given, root / "body.pth")
    metrics = run(root, weights=str(root / "body.pth"), unfrozen_epochs=0, frozen_epochs=1)
    assert metrics["stage_1"]["layers"] == "head"
    trained = weights_of(root)
    convolutions = [name for name in given if given[name].dim() == 4]
    assert convolutions and all(torch.equal(trained[name], given[name]) for name in convolutions)
    _, card = load_model(root / "data" / "shapes" / "model")
    assert card.mean == (0.485, 0.456, 0.406)  # what published weights expect
    assert card.made["weights_sha256"] == sha256_of(root / "body.pth")
    moved = run(root, weights=str(root / "body.pth"), unfrozen_lr=[1e-4, 1e-3])
    assert moved["stage_2"]["layers"] == "all" and moved["stage_2"]["lr"] == [1e-4, 1e-3]
    trained = weights_of(root)
    assert not any(torch.equal(trained[name], given[name]) for name in convolutions)


def test_a_loss_that_is_not_a_number_stops_with_step_and_rate(project: Project) -> None:
    root = project()
    write_world(root, "shapes", WORLD)
    broken = {f"0.{name}": value for name, value in build(4)[0].state_dict().items()}
    broken["0.0.weight"][0] = float("nan")
    torch.save(broken, root / "broken.pth")
    with pytest.raises(
        PipelineError, match=r"loss is nan in epoch 1, step 1, .* learning rate 0\.0001"
    ):
        run(root, weights=str(root / "broken.pth"))
    assert not (root / "data" / "shapes" / "model").exists()


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
def test_what_cannot_be_learned_is_one_line(
    project: Project, world: dict[str, dict[str, int]], said: str
) -> None:
    root = project()
    write_world(root, "shapes", world)
    with pytest.raises(PipelineError, match=said):
        train("shapes", tiny())


def test_a_model_remembers_how_its_letters_were_drawn(project: Project) -> None:
    root = project()
    drawing = PenSettings(dpi=125, pen_width=3)
    write_world(root, "shapes", WORLD, about=drawing.metadata)
    run(root, frozen_epochs=0, unfrozen_epochs=1)
    assert load_model(root / "data" / "shapes" / "model")[1].drawing == drawing


def test_without_a_valid_part_it_trains_unwatched(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    root = project()
    write_world(root, "shapes", {"disc": {"train": 5}, "ring": {"train": 4, "test": 2}})
    metrics = run(root, frozen_epochs=0, unfrozen_epochs=1)
    assert "the validation set is empty" in capsys.readouterr().err
    assert metrics["valid"] == 0 and metrics["stage_2"]["accuracy"] is None
    assert metrics["stage_2"]["train_loss"] > 0 and metrics["temperature"] == 1


def test_the_finders_rate_is_used_where_the_rate_is_auto(project: Project) -> None:
    root = project()
    write_world(root, "shapes", WORLD)
    metrics = run(root, scratch_lr="auto", lr_find_steps=24, unfrozen_epochs=0)
    assert metrics["stage_1"]["lr"] == metrics["stage_1"]["lr_suggested"] != 0.003


def test_weights_that_cannot_be_had_are_one_line(project: Project) -> None:
    root = project()
    write_world(root, "shapes", WORLD)
    with pytest.raises(PipelineError, match="file of weights not found; allowed: imagenet, none"):
        train("shapes", tiny(weights="nosuch.pth"))


def test_a_batch_that_does_not_fit_comes_in_halves_until_it_does(
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
    metrics = run(root, unfrozen_epochs=1, frozen_epochs=0, ema=0.9)
    said = capsys.readouterr().err
    assert [line for line in said.splitlines() if "out of memory" in line] == [
        "out of memory: retrying with 12 images at once, 24 a step",
        "out of memory: retrying with 6 images at once, 24 a step",
    ]
    assert metrics["stage_2"]["epochs"] == 1 and len(history_of(root)) == 1
    with pytest.raises(PipelineError, match=r"out of memory with 7 images at once: CUDA out of"):
        run(root, batch_size=7)


# What a batch of 240 needs of memory is not given; the first training has loaded all code.
STARVED = """
import resource
from pathlib import Path
import torch
from pipeline.core.params import Train
from pipeline.model import device
from pipeline.train.stage import train
device.keep_freed_memory = lambda: None
torch.set_num_threads(1)
rest = dict(size=96, frozen_epochs=0, unfrozen_epochs=1, lr_find_steps=0, device="cpu",
            precision="fp32")
train("few", Train(batch_size=4, **rest))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 1100 * 2**20,) * 2)
train("many", Train(batch_size=240, **rest))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory as Linux does")
def test_out_of_memory_a_batch_comes_in_parts_and_a_step_sees_all_of_it(project: Project) -> None:
    root = project()
    write_world(root, "few", {shape: {"train": 2} for shape in SHAPES})
    write_world(root, "many", {shape: {"train": 60, "valid": 1} for shape in SHAPES})
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
    assert re.search(r"out of memory: retrying with \d+ images at once, 240 a step", done.stderr)
    assert read_json(root / "data" / "many" / "reports" / "train.json")["stage_2"]["epochs"] == 1
