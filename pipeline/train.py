"""Train ResNet34 in two stages with fastai: the head on a frozen body, then everything."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from dataclasses import dataclass, replace
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import pipeline
from pipeline import plots
from pipeline.checkpoint import State, load_state, save_state
from pipeline.compute import Compute, choose
from pipeline.errors import Stage
from pipeline.files import write_csv, write_json
from pipeline.fit import Fitting, Plan, plans
from pipeline.measures import fit_temperature
from pipeline.model import Batches, make_learner
from pipeline.network import IMAGENET, Card, build, load_body, predict_logits, save_model
from pipeline.params import Augment, Train, load_params, section
from pipeline.parts import Part, class_names, classes_to_learn, places, read_parts
from pipeline.pictures import Pictures, Pixels, View, read_pictures
from pipeline.portable import export
from pipeline.samples import dataset_folder, reports_folder
from pipeline.weights import read_weights

KEPT_WHOLE = 1.5  # sides of the input; pictures that are cropped are kept at this, for detail
HISTORY_HEADER = (
    "epoch",
    "stage",
    "train_loss",
    "valid_loss",
    "accuracy",
    "class_averaged_accuracy",
)
FINDER_HEADER = ("stage", "lr", "loss")


@click.command(cls=Stage)
@click.argument("dataset")
def main(dataset: str) -> None:
    """Train a ResNet34 in two stages, frozen and then unfrozen.

    Learns DATASET's train part, on the GPU if there is one, and watches its valid part. A killed
    training goes on from its last epoch to the same end.

    Example: python -m pipeline.train dances
    """
    train(dataset, section(load_params().train, dataset, "train"))


@dataclass(frozen=True)
class Task:
    """What is learned, and what from."""

    dataset: str
    params: Train
    parts: dict[str, Part]
    labels: list[str]
    pictures: dict[str, Pictures]  # of train and valid
    targets: dict[str, NDArray[np.int64]]
    network: nn.Sequential
    card: Card
    is_pretrained: bool


def train(dataset: str, params: Train) -> None:
    """Train a dataset's model; write it, its history and its metrics."""
    compute = choose(params)
    task = read_task(dataset, params)
    stages = plans(params, task.is_pretrained)
    for line in introduction(task, compute, stages):
        print(line, file=sys.stderr, flush=True)
    folder = dataset_folder(dataset) / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    learner = make_learner(
        [
            batches(task, "train", compute, params.augment),
            batches(task, "valid", compute),
        ],
        task.network,
        params,
        compute,
        folder,
    )
    state = load_state(folder / "state.pt", purpose(task))
    if state.history:
        print(f"going on after epoch {len(state.history)}", file=sys.stderr, flush=True)

    saved = time.monotonic()

    def changed(state: State, *, is_whole: bool) -> None:
        nonlocal saved
        write_curves(dataset, state)
        if is_whole and time.monotonic() - saved >= params.checkpoint_s:
            save_state(folder / "state.pt", state)
            saved = time.monotonic()

    write_curves(dataset, state)
    Fitting(learner, params, len(task.labels), state, changed).run(stages)
    logits = predict_logits(task.network, task.pictures["valid"].pixels, task.card, compute.device)
    temperature = fit_temperature(logits, task.targets["valid"])
    metrics = measured(task, stages, state, temperature)
    card = replace(task.card, temperature=temperature, made=provenance(task, metrics))
    write_model(dataset, learner, task.network, card)
    draw_curves(dataset, state)
    write_json(reports_folder(dataset) / "train.json", metrics)
    (folder / "state.pt").unlink(missing_ok=True)


def read_task(dataset: str, params: Train) -> Task:
    """Read samples, parts and first weights, and see that they can be learned from."""
    parts = read_parts(dataset)
    labels = classes_to_learn(dataset, parts)
    weights = read_weights(params.weights)
    view = view_of(params)
    whole = round(KEPT_WHOLE * params.size)
    pictures = {
        "train": read_pictures(dataset, "train", parts["train"].sample_ids, view, whole),
        "valid": read_pictures(dataset, "valid", parts["valid"].sample_ids, view),
    }
    mean, std = statistics(pictures["train"].pixels) if weights is None else IMAGENET
    if params.channels < len(mean):  # colours summed up by the stem share one scale
        mean, std = (sum(mean) / len(mean),), (sum(std) / len(std),)
    torch.manual_seed(params.seed)
    network = build(len(labels), params.channels, params.dropout)
    if weights is not None:
        load_body(network, weights, params.weights)
    return Task(
        dataset,
        params,
        parts,
        labels,
        pictures,
        {name: places(parts[name].labels, labels) for name in pictures},
        network,
        Card(class_names(dataset, labels), view, mean, std),
        weights is not None,
    )


def batches(task: Task, part: str, compute: Compute, augmenting: Augment | None = None) -> Batches:
    """Return a part's loader; what is only looked at has no gradients and fits twice as many."""
    size = task.params.batch_size if augmenting else 2 * task.params.batch_size
    stored, targets = task.pictures[part], task.targets[part]
    return Batches(
        stored, targets, task.card, compute.device, batch_size=size, augmenting=augmenting
    )


def view_of(params: Train) -> View:
    """Return how the network of these params sees a picture."""
    return View(params.size, params.channels, params.fit, params.margin, params.trim, params.invert)


def statistics(pixels: Pixels) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of each channel, of values from 0 to 1."""
    levels = np.zeros((pixels.shape[1], 256), np.int64)
    for picture in pixels:
        for channel, values in enumerate(picture):
            levels[channel] += np.bincount(values.ravel(), minlength=256)
    shares = levels / levels.sum(1, keepdims=True)
    values = np.arange(256) / 255
    mean = shares @ values
    std = np.sqrt(np.maximum(shares @ values**2 - mean**2, 1e-6))
    return tuple(mean.tolist()), tuple(std.tolist())


def introduction(task: Task, compute: Compute, stages: list[Plan]) -> list[str]:
    """Return what is about to happen, for people."""
    counts = ", ".join(f"{name} {len(task.parts[name])}" for name in ("train", "valid"))
    lines = [f"{task.dataset}: {len(task.labels)} classes, {counts} pictures, {compute}"]
    if not task.is_pretrained and task.params.frozen_epochs:
        lines.append("weights: none, so nothing is frozen: all layers learn in both stages")
    if not len(task.parts["valid"]):
        lines.append("the valid part is empty: nothing watches the training")
    lines += [f"{plan.name}: {plan.layers} layers, {plan.epochs} epochs" for plan in stages]
    return lines


def purpose(task: Task) -> str:
    """Return a hash of all that the outcome depends on."""
    used = [
        (part.sample_ids, part.content_ids, part.labels)
        for part in (task.parts[name] for name in task.pictures)
    ]
    versions = [pipeline.__version__, torch.__version__]
    text = json.dumps([task.params.model_dump(), used, versions])
    return hashlib.sha256(text.encode()).hexdigest()


def write_curves(dataset: str, state: State) -> None:
    """Write history.csv and lr_find.csv, as far as they have come."""
    folder = reports_folder(dataset) / "train"
    write_csv(folder / "history.csv", HISTORY_HEADER, state.history)
    write_csv(folder / "lr_find.csv", FINDER_HEADER, state.finder)


def draw_curves(dataset: str, state: State) -> None:
    """Draw both for people, since DVC's page needs a network."""
    folder = reports_folder(dataset) / "train"
    plots.draw_history(folder / "history.png", HISTORY_HEADER, state.history)
    plots.draw_finder(folder / "lr_find.png", state.finder)


def measured(task: Task, stages: list[Plan], state: State, temperature: float) -> dict[str, Any]:
    """Return the metrics: the end of each stage, and what a rerun would find again."""
    metrics: dict[str, Any] = {
        "classes": len(task.labels),
        "train": len(task.parts["train"]),
        "valid": len(task.parts["valid"]),
        "temperature": temperature,
    }
    for index, plan in enumerate(stages):
        last = [row for row in state.history if row[1] == plan.name][-1]
        metrics[plan.name] = {
            "layers": plan.layers,
            "epochs": plan.epochs,
            "lr": state.rates[index],
            "lr_suggested": state.suggested[index],
            **dict(zip(HISTORY_HEADER[2:], last[2:], strict=True)),
        }
    return metrics


def provenance(task: Task, metrics: dict[str, Any]) -> dict[str, Any]:
    """Return what a model was made from, for its card."""
    return {
        "dataset": task.dataset,
        "kalai": pipeline.__version__,
        "torch": torch.__version__,
        "purpose": purpose(task),
        "params": task.params.model_dump(),
        "metrics": metrics,
    }


def write_model(dataset: str, learner: Any, network: nn.Sequential, card: Card) -> None:
    """Write the model's folder; it appears whole or not at all."""
    folder = dataset_folder(dataset) / "model"
    unfinished = folder.with_name("model.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    save_model(unfinished, network, card)
    export(unfinished / "export.pkl", network, card)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


if __name__ == "__main__":
    main()
