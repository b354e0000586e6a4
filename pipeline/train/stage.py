"""Stage `train`: train a network with fastai in two stages, first the head, then all layers."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from functools import partial
from typing import Any

import click
from torch import nn

from pipeline.core.errors import Stage
from pipeline.core.files import write_csv, write_json
from pipeline.core.params import Train, load_params, section
from pipeline.dataset.paths import checkpoint_path, model_folder, plots_folder, report_path
from pipeline.dataset.split_table import TRAIN, VALID
from pipeline.model.device import Compute, choose
from pipeline.model.metrics import fit_temperature
from pipeline.model.network import Card, predict_logits, save_model
from pipeline.train.checkpoint import State
from pipeline.train.distributed import first_goes_first, join, leave, only_first_prints
from pipeline.train.fastai_export import export
from pipeline.train.loop import LAYERS, Plan, fit, plans
from pipeline.train.plots import draw_finder, draw_history
from pipeline.train.provenance import provenance
from pipeline.train.training_data import Task, read_task

HISTORY_HEADER = (
    "epoch",
    "stage",
    "train_loss",
    "valid_loss",
    "accuracy",
    "balanced_accuracy",
)
FINDER_HEADER = ("stage", "lr", "loss")


@click.command(cls=Stage)
@click.argument("dataset")
def main(dataset: str) -> None:
    """Train a ResNet34 in two stages, frozen and then unfrozen.

    Trains on DATASET's training set, on a GPU if there is one, and measures the validation set
    after each epoch. An interrupted training resumes from its last checkpoint.

    \b
    Examples:
      python -m pipeline.train dances
      accelerate launch -m pipeline.train dances     all GPUs of this machine
    """
    train(dataset, section(load_params(), "train", dataset))


def train(dataset: str, params: Train) -> None:
    """Train the model of a dataset; write the model, its history and its metrics."""
    compute = join(choose(params))
    checkpoint = checkpoint_path(dataset)
    with only_first_prints(compute):
        with first_goes_first(compute):
            task = read_task(dataset, params)
        stages = plans(params, task.is_pretrained)
        for line in introduction(task, compute, stages):
            print(line, file=sys.stderr, flush=True)
        learner, state = fit(task, stages, compute, checkpoint, partial(write_curves, dataset))
    leave(compute)
    if compute.rank:
        return
    valid = task.images["valid"].pixels
    fitting = learner.dls.valid.bs  # a batch of this size is known to fit into memory
    logits = predict_logits(task.network, valid, task.card, compute.device, fitting)
    temperature = fit_temperature(logits, task.targets["valid"])
    metrics = measured(task, stages, state, temperature)
    card = replace(task.card, temperature=temperature, made=provenance(task, metrics))
    write_model(dataset, learner, task.network, card)
    draw_curves(dataset, stages, state)
    write_json(report_path(dataset, "train"), metrics)
    checkpoint.unlink(missing_ok=True)


def introduction(task: Task, compute: Compute, stages: list[Plan]) -> list[str]:
    """Return lines for the log: the data, the device and the stages."""
    counts = ", ".join(
        f"{len(task.parts[name])} {of} images"
        for name, of in ((TRAIN, "training"), (VALID, "validation"))
    )
    lines = [f"{task.dataset}: {len(task.labels)} classes, {counts}, on {compute}"]
    if not task.is_pretrained and task.params.frozen_epochs:
        lines.append("no pretrained weights: both stages train all layers")
    if not len(task.parts["valid"]):
        lines.append("the validation set is empty: epochs have no validation metrics")
    if task.params.ema:
        lines.append(f"moving average of the weights, decay {task.params.ema} per step")
    for plan in stages:
        epochs = f"{plan.epochs} epoch{'s' * (plan.epochs != 1)}"
        lines.append(f"{plan.name}: {LAYERS[plan.layers]}, {epochs}")
    return lines


def write_curves(dataset: str, state: State) -> None:
    """Write history.csv and lr_find.csv for the epochs so far."""
    folder = plots_folder(dataset, "train")
    write_csv(folder / "history.csv", HISTORY_HEADER, state.history)
    write_csv(folder / "lr_find.csv", FINDER_HEADER, state.finder)


def draw_curves(dataset: str, stages: list[Plan], state: State) -> None:
    """Draw history.png and lr_find.png; DVC's own plots need the internet."""
    folder = plots_folder(dataset, "train")
    suggested = {plan.name: state.suggested.get(index) for index, plan in enumerate(stages)}
    draw_history(folder / "history.png", HISTORY_HEADER, state.history)
    draw_finder(folder / "lr_find.png", state.finder, suggested)


def measured(task: Task, stages: list[Plan], state: State, temperature: float) -> dict[str, Any]:
    """Return the metrics: the last epoch of each stage, and its learning rates."""
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


def write_model(dataset: str, learner: Any, network: nn.Sequential, card: Card) -> None:
    """Write the folder of the model, atomically."""
    folder = model_folder(dataset)
    unfinished = folder.with_name("model.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    save_model(unfinished, network, card)
    export(unfinished / "export.pkl", network, card)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
