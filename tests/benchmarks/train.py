"""Compare kalai's training throughput with fastai's usual loop and with the device's peak.

    python tests/benchmarks/train.py                      drawn images at 64 pixels
    python tests/benchmarks/train.py --check              fail below the goals
    python tests/benchmarks/train.py --size 224 --batch 256 --images 8192
    python tests/benchmarks/train.py --reach 0.9 --data .. --dataset tamil --classes 20

Both sides train the same ResNet34 from scratch on the same PNG files, in turns. fastai's side
follows its documentation: image files, `Resize`, `aug_transforms`, one worker per core, Adam, fp16
on a GPU. kalai's side does what the stage `train` does. The throughput is that of the fastest
training epoch, since other work on the machine only slows an epoch down; validation is left out.
The ceiling is the rate of a large matrix product, divided by the operations of a forward and a
backward pass.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))
warnings.simplefilter("ignore")

GOALS = {"cpu": 2.0, "cuda": 10.0}  # times the throughput of fastai's loop
REACH_GOAL = 3.0  # times as soon at an accuracy
PEAK_SIDE = {"cpu": 2048, "cuda": 8192, "mps": 4096}  # side of the matrices that measure the peak


def write_files(folder: Path, dataset: str) -> int:
    """Write the training and validation sets as PNGs in part/label/; return the training count."""
    from pipeline.dataset.split_table import read_parts
    from pipeline.dataset.stored_images import read_images

    parts = read_parts(dataset)
    for name in ("train", "valid"):
        images = read_images(dataset, parts[name].sample_ids)
        for place, (sample_id, label) in enumerate(
            zip(parts[name].sample_ids, parts[name].labels, strict=True)
        ):
            path = folder / name / label / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(images[sample_id])
    return len(parts["train"])


def draw_world(images: int, size: int) -> str:
    """Draw a dataset into the current folder; return its name."""
    from tests.worlds import SHAPES, write_world

    each = {"train": images // len(SHAPES), "valid": 8}
    write_world(Path(), "shapes", dict.fromkeys(SHAPES, each), size=(size * 3 // 2, size * 5 // 4))
    return "shapes"


def some_classes(source: Path, dataset: str, count: int) -> str:
    """Copy the first classes of a real dataset into the current folder; return its name."""
    import csv

    folder = Path("data") / dataset
    folder.mkdir(parents=True)
    shutil.copy(source / "data" / dataset / "samples.parquet", folder)
    with (source / "data" / dataset / "split.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    kept = sorted({row["label"] for row in rows})[:count]
    with (folder / "split.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for row in rows if row["label"] in kept)
    return dataset


def stopwatch(device: Any) -> Any:
    """Return a callback that records how long each training epoch took and when it ended."""
    import torch
    from fastai.callback.core import Callback

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize()

    class Stopwatch(Callback):
        order = 100

        def before_fit(self) -> None:
            self.began = time.perf_counter()
            self.epochs: list[float] = []
            self.ends: list[float] = []

        def before_train(self) -> None:
            wait()
            self.at = time.perf_counter()

        def after_train(self) -> None:
            wait()
            self.epochs.append(time.perf_counter() - self.at)

        def after_epoch(self) -> None:
            self.ends.append(time.perf_counter() - self.began)

    return Stopwatch()


def ours(dataset: str, params: Any, epochs: int) -> tuple[Any, list[float], float]:
    """Train as kalai does; return stopwatch, accuracies and seconds before the first step."""
    from pipeline.model.device import choose
    from pipeline.train.callbacks import History, Schedule
    from pipeline.train.learner import group_rates, make_learner
    from pipeline.train.training_data import batches, read_task

    began = time.perf_counter()
    compute = choose(params)
    task = read_task(dataset, params)
    loaders = [batches(task, "train", compute, params.augment), batches(task, "valid", compute)]
    learner = make_learner(loaders, task.network, params, compute, Path())
    preparing = time.perf_counter() - began
    watch, accuracies = stopwatch(compute.device), []
    history = History(
        len(task.labels),
        lambda row: accuracies.append(float(row["accuracy"] or 0)),
        lambda count, note: None,
    )
    cbs = [Schedule(params.seed, 0), history, watch]
    learner.fit_one_cycle(epochs, group_rates(params.scratch_lr), cbs=cbs)
    return watch, accuracies, preparing


def stock(files: Path, params: Any, epochs: int) -> tuple[Any, list[float], float]:
    """Train as in fastai's documentation; return the same as `ours`."""
    import torch
    from fastai.callback.core import Callback
    from fastai.callback.progress import ProgressCallback
    from fastai.callback.schedule import ParamScheduler  # noqa: F401  (gives fit_one_cycle)
    from fastai.metrics import accuracy
    from fastai.vision.augment import Resize, ResizeMethod, aug_transforms
    from fastai.vision.data import ImageDataLoaders
    from fastai.vision.learner import vision_learner
    from torchvision.models import resnet34

    from pipeline.model.device import pick_device

    began = time.perf_counter()
    device = pick_device(params.device)
    fit = ResizeMethod.Pad if params.fit == "pad" else ResizeMethod.Crop
    loaders = ImageDataLoaders.from_folder(
        files,
        train="train",
        valid="valid",
        item_tfms=Resize(params.size, method=fit, pad_mode="border"),
        batch_tfms=aug_transforms(do_flip=params.augment.flip > 0, size=params.size),
        bs=min(params.batch_size, 64) if device.type == "cpu" else params.batch_size,
        num_workers=os.cpu_count() if device.type == "cuda" else 0,
        device=device,
    )
    learner = vision_learner(loaders, resnet34, pretrained=False, metrics=accuracy)
    if device.type == "cuda":
        learner.to_fp16()
    learner.unfreeze()
    watch, accuracies = stopwatch(device), []

    class Keep(Callback):
        order = 101

        def after_epoch(self) -> None:
            accuracies.append(float(self.learn.recorder.values[-1][-1]))

    preparing = time.perf_counter() - began
    learner.remove_cb(ProgressCallback)
    with learner.no_logging():
        learner.fit_one_cycle(epochs, 1e-3, cbs=[watch, Keep()])
    del learner, loaders
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return watch, accuracies, preparing


def ceiling(params: Any, classes: int) -> tuple[float, float, float]:
    """Return operations per image, and operations and images per second at the device's peak."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from pipeline.model.device import choose
    from pipeline.model.network import build

    compute = choose(params)
    with FlopCounterMode(display=False) as counter:
        network = build(classes, params.channels)
        network(torch.zeros(2, params.channels, params.size, params.size)).sum().backward()
    operations = counter.get_total_flops() / 2
    side = PEAK_SIDE[compute.device.type]
    dtype = compute.dtype or torch.float32
    left, right = (torch.randn(side, side, device=compute.device).to(dtype) for _ in range(2))
    rate = 0.0
    for _ in range(12):
        began = time.perf_counter()
        product = left @ right
        if compute.device.type == "cuda":
            torch.cuda.synchronize()
        rate = max(rate, 2 * side**3 / (time.perf_counter() - began))
    del product
    return operations, rate, rate / operations


def reached(watch: Any, accuracies: list[float], preparing: float, wanted: float) -> float | None:
    """Return the seconds until the end of the first epoch that reaches an accuracy."""
    for end, accuracy in zip(watch.ends, accuracies, strict=True):
        if accuracy >= wanted:
            return float(preparing + end)
    return None


@click.command()
@click.option("--size", default=64, show_default=True, help="Side of the input in pixels.")
@click.option(
    "--batch", default=128, show_default=True, help="Batch size; at most 64 for fastai on a CPU."
)
@click.option("--images", default=768, show_default=True, help="Training images to draw.")
@click.option("--epochs", default=2, show_default=True)
@click.option("--rounds", default=1, show_default=True, help="Turns of each side.")
@click.option("--device", default="auto", type=click.Choice(["auto", "cuda", "mps", "cpu"]))
@click.option(
    "--data", type=click.Path(path_type=Path), help="Folder of a project with a split dataset."
)
@click.option("--dataset", default="tamil", help="Dataset of --data; its params are used.")
@click.option(
    "--classes", default=20, show_default=True, help="Use only the first N classes of --data."
)
@click.option("--reach", type=float, help="Also time both sides to this accuracy.")
@click.option(
    "--compile", "is_compiled", is_flag=True, help="Compile kalai's network with torch.compile."
)
@click.option("--check", is_flag=True, help="Fail if a goal is missed.")
@click.option(
    "--json", "report", type=click.Path(path_type=Path), help="Write the results to this file."
)
def main(**options: Any) -> None:
    """Train both sides and print their throughput."""
    from pipeline.core.params import Augment, Train, load_params

    compiled: Any = "on" if options["is_compiled"] else "off"
    params = Train(
        size=options["size"],
        batch_size=options["batch"],
        frozen_epochs=0,
        unfrozen_epochs=1,
        augment=Augment(rotate=10, zoom=0.1, light=0.2, flip=0.5, min_area=0.75),
        device=options["device"],
        compile=compiled,
    )
    data = options["data"].resolve() if options["data"] else None
    if data:
        changes = {"size": options["size"], "batch_size": options["batch"]}
        theirs = load_params(ROOT / "params.yaml").train[options["dataset"]]
        params = theirs.model_copy(
            update=changes | {"device": options["device"], "compile": compiled}
        )
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        if data:
            dataset = some_classes(data, options["dataset"], options["classes"])
        else:
            dataset = draw_world(options["images"], options["size"])
        count = write_files(Path("files"), dataset)
        figures = compare(
            dataset, params, count, options["epochs"], options["rounds"], options["reach"]
        )
        os.chdir(ROOT)
    if options["report"]:
        options["report"].write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    failed = [what for what, (found, goal) in figures["goals"].items() if found < goal]
    for what, (found, goal) in figures["goals"].items():
        print(f"{what}: {found:.2f}, goal {goal:.2f}{'  FAILED' if what in failed else ''}")
    if options["check"] and failed:
        sys.exit(1)


def compare(
    dataset: str, params: Any, count: int, epochs: int, rounds: int, reach: float | None
) -> dict[str, Any]:
    """Run both sides; print and return the results."""
    from pipeline.dataset.split_table import classes_to_learn, read_parts
    from pipeline.model.device import choose

    device = choose(params).device.type
    classes = len(classes_to_learn(dataset, read_parts(dataset)))
    figures: dict[str, Any] = {"device": str(choose(params)), "size": params.size, "count": count}
    print(f"{figures['device']}; {count} images of {classes} classes at {params.size} pixels")
    sides: dict[str, Callable[[], tuple[Any, list[float], float]]] = {
        "fastai": lambda: stock(Path("files"), params, epochs),
        "kalai": lambda: ours(dataset, params, epochs),
    }
    soonest: dict[str, float | None] = {}
    for name, run in list(sides.items()) * rounds:
        watch, accuracies, preparing = run()
        seen = count // params.batch_size * params.batch_size if name == "kalai" else count
        rate = seen / min(watch.epochs)
        line = f"{name:8} {rate:10.1f} img/s, {preparing:.1f} s until the first step"
        if reach:
            found = reached(watch, accuracies, preparing, reach)
            soonest[name] = min(filter(None, (found, soonest.get(name))), default=None)
            line += f", accuracy {reach:.0%} after {found or float('nan'):.0f} s"
        print(line, flush=True)
        best = max(rate, figures.get(name, {"images_s": 0})["images_s"])
        figures[name] = {"images_s": best, "accuracies": accuracies, "preparing_s": preparing}
    for name, seconds in soonest.items():
        figures[name]["reached_s"] = seconds
    operations, rate, most = ceiling(params, classes)
    share = figures["kalai"]["images_s"] / most
    figures["ceiling"] = {"flop_image": operations, "flop_s": rate, "images_s": most}
    giga, each = rate / 1e9, operations / 1e9
    print(f"ceiling  {most:10.1f} img/s: {giga:.0f} GFLOP/s, {each:.2f} GFLOP per image")
    print(f"kalai reaches {share:.0%} of the ceiling")
    goals = {}
    if device in GOALS:
        times = figures["kalai"]["images_s"] / figures["fastai"]["images_s"]
        goals["times fastai's rate"] = (times, GOALS[device])
    if soonest.get("kalai") and soonest.get("fastai"):
        sooner = (soonest["fastai"] or 0) / (soonest["kalai"] or 1)
        goals[f"times sooner at {reach:.0%}"] = (sooner, REACH_GOAL)
    figures["goals"] = goals
    return figures


if __name__ == "__main__":
    main()
