"""Suspects: labels that models which never saw them confidently dispute.

Confident learning: Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in
dataset labels", JAIR 70 (2021). Not a stage: it trains once a fold, no stage reads what it finds,
and a `dvc repro` after each decision would cost all folds again. A person runs it, looks, decides.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from pydantic import ValidationError

from pipeline.core.errors import PipelineError, Stage
from pipeline.core.files import replacing
from pipeline.core.params import Split, Train, load_params, section
from pipeline.dataset.columns import (
    CONTENT_ID,
    FOLD,
    LABEL,
    LABEL_PROBABILITY,
    MARGIN,
    RANK,
    SAMPLE_ID,
    SUGGESTED,
    SUGGESTED_PROBABILITY,
)
from pipeline.dataset.paths import cache_folder, suspects_path
from pipeline.dataset.split_table import Part, classes_to_learn, label_indices, read_parts
from pipeline.dataset.suspects_table import write_suspects
from pipeline.model.device import choose
from pipeline.model.metrics import Floats, Ints, fit_temperature, softmax
from pipeline.model.network import predict_logits
from pipeline.split.assign import draw_folds
from pipeline.split.groups import Groups
from pipeline.split.leaks import Bools
from pipeline.train.loop import fit, plans
from pipeline.train.training_data import purpose, read_task

SURE = 0.9  # is confident of any class: of an easy one, half lies below a mean of nearly 1
SHOWN = 10  # named on the terminal; the review page has all

Row = dict[str, Any]  # of suspects.parquet


class Suspect(NamedTuple):
    """A sample (by its row) whose label is disputed, and how strongly."""

    row: int
    suggested: int
    label_probability: float
    suggested_probability: float
    margin: float


def suspects(probabilities: Floats, labels: Ints) -> list[Suspect]:
    """Return the samples off the diagonal of the confident joint, least self-confidence first.

    `probabilities` (n, classes) are of models that did not learn the sample. A model is confident
    of a class where it gives it at least the mean of what it gives samples of that label, so that
    classes hard to tell are held to less; SURE is enough for all. It disputes a label where the
    likeliest of the classes it is confident of is likelier than the label. Ranked by the label's
    own probability: among many classes, the margin says more of the class than of the label.
    """
    given = probabilities[np.arange(len(labels)), labels]
    by_class = (np.sort(given[labels == place]) for place in range(probabilities.shape[1]))
    # sorted, so that the sum's last digit does not depend on the samples' order
    means = np.array([each.mean() if each.size else np.inf for each in by_class])
    thresholds = np.where(means < np.inf, np.minimum(means, SURE), np.inf)
    confident = np.where(probabilities >= thresholds, probabilities, 0)
    margin = confident.max(1) - given
    found = np.flatnonzero(margin > 0)
    found = found[np.lexsort((-margin[found], given[found]))]
    columns = (found, confident.argmax(1)[found], given[found], confident.max(1)[found])
    return list(map(Suspect, *(column.tolist() for column in (*columns, margin[found]))))


def pool(parts: Sequence[Part]) -> Part:
    """Return the samples of several parts as one, in the order of their ids."""
    rows = [row for part in parts for row in zip(*astuple(part), strict=True)]
    return Part(*map(list, zip(*sorted(rows), strict=True)))


def picked(part: Part, is_in: Bools) -> Part:
    """Return some of a part's samples."""
    rows = np.flatnonzero(is_in).tolist()
    return Part(*([column[row] for row in rows] for column in astuple(part)))


def folds_of(part: Part, params: Split) -> Ints:
    """Return the fold of each sample; the groups of split.csv stay whole, duplicates with them."""
    named = [group or content for group, content in zip(part.groups, part.content_ids, strict=True)]
    keys, of = np.unique(named, return_inverse=True)
    groups = Groups(of, keys.tolist(), np.zeros(keys.size, bool))
    return draw_folds(groups, np.array(part.labels), np.ones(len(part), bool), params)


def out_of_fold(dataset: str, part: Part, labels: list[str], fold: Ints, params: Train) -> Floats:
    """Return (n, classes) probabilities of each sample, by a model of the other folds.

    Each fold's are calibrated on it, so that folds can be compared. What a fold came to is kept
    in the dataset's cache: a killed run goes on, and the same run costs nothing again.
    """
    folder = cache_folder(dataset) / "folds"
    probabilities = np.zeros((len(part), len(labels)))
    kept = []
    for number in range(int(fold.max()) + 1):
        held = fold == number
        parts = {"train": picked(part, ~held), "valid": picked(part, held), "test": Part()}
        kept.append(folder / f"{purpose(params, parts)}.npy")
        is_done = ", done before" if kept[-1].exists() else ""
        counts = f"{len(parts['train'])} to learn, {len(parts['valid'])} to judge"
        print(f"fold {number + 1} of {fold.max() + 1}: {counts}{is_done}", file=sys.stderr)
        if not is_done:
            judge(dataset, parts, params, kept[-1])
        logits = np.load(kept[-1])
        temperature = fit_temperature(logits, label_indices(parts["valid"].labels, labels))
        probabilities[held] = softmax(logits, temperature)
    for path in {*folder.iterdir(), *folder.parent.glob("fold-*.npy")} - set(kept):
        path.unlink()
    return probabilities


def judge(dataset: str, parts: dict[str, Part], params: Train, path: Path) -> None:
    """Train on `train`; write to `path` what the model says of `valid`, (count, classes) logits."""
    compute = choose(params)
    task = read_task(dataset, params, parts, cache="fold-")
    left = path.with_name("state.pt")
    fit(task, plans(params, task.is_pretrained), compute, left, lambda _: None)
    logits = predict_logits(task.network, task.pictures["valid"].pixels, task.card, compute.device)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, logits)
    left.unlink(missing_ok=True)


def lighter(params: Train, epochs: int | None, size: int | None) -> Train:
    """Return a recipe with other epochs and size, where given, and without needless searches.

    Raises PipelineError where they make no sense together.
    """
    is_searched = "auto" in (params.frozen_lr, params.unfrozen_lr, params.scratch_lr)
    changes = {
        "unfrozen_epochs": epochs or params.unfrozen_epochs,
        "size": size or params.size,
        "lr_find_steps": params.lr_find_steps if is_searched else 0,
    }
    try:
        return Train.model_validate(params.model_dump() | changes)
    except ValidationError as error:
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise PipelineError(f"suspects: {said}") from error


def rows_of(part: Part, labels: list[str], fold: Ints, found: Sequence[Suspect]) -> list[Row]:
    """Return the rows of suspects.parquet, by column name."""
    return [
        {
            SAMPLE_ID: part.sample_ids[each.row],
            CONTENT_ID: part.content_ids[each.row],
            LABEL: part.labels[each.row],
            SUGGESTED: labels[each.suggested],
            LABEL_PROBABILITY: each.label_probability,
            SUGGESTED_PROBABILITY: each.suggested_probability,
            MARGIN: each.margin,
            FOLD: int(fold[each.row]),
            RANK: rank,
        }
        for rank, each in enumerate(found, 1)
    ]


@click.command(cls=Stage)
@click.argument("dataset")
@click.option("--folds", default=5, show_default=True, type=click.IntRange(2))
@click.option("--epochs", type=click.IntRange(1), help="Of the second stage, if not the recipe's.")
@click.option("--size", type=click.IntRange(16, 1024), help="Pixels, if not the recipe's.")
@click.option("--with-test", is_flag=True, help="Also the test part; deciding on it flatters it.")
def main(
    dataset: str, *, folds: int, epochs: int | None, size: int | None, with_test: bool
) -> None:
    """Find labels that models which never saw them confidently dispute.

    Trains DATASET's recipe once a fold, in groups that keep duplicates together, of its train and
    valid parts. A killed run goes on. Writes suspects.parquet, for `kalai review` and for you.

    \b
    Examples:
      kalai suspects dances
      kalai suspects dances --folds 3 --epochs 2 --size 96      a first look, quickly
    """
    params = load_params()
    recipe = lighter(section(params, "train", dataset), epochs, size)
    split = section(params, "split", dataset).model_copy(update={"folds": folds})
    parts = read_parts(dataset)
    names = ["train", "valid"] + ["test"] * with_test
    part = pool([parts[name] for name in names])
    labels = classes_to_learn(dataset, {"train": part, "valid": Part(), "test": Part()})
    fold = folds_of(part, split)
    probabilities = out_of_fold(dataset, part, labels, fold, recipe)
    actual = label_indices(part.labels, labels)
    rows = rows_of(part, labels, fold, suspects(probabilities, actual))
    path = suspects_path(dataset)
    write_suspects(dataset, rows)
    for row in rows[:SHOWN]:
        here, there = row[LABEL_PROBABILITY], row[SUGGESTED_PROBABILITY]
        said = f"{row[LABEL]} {here:.0%}, rather {row[SUGGESTED]} {there:.0%}"
        click.echo(f"{row[RANK]:>3}. {row[SAMPLE_ID]}: {said}")
    right = (probabilities.argmax(1) == actual).mean()
    click.echo(f"{path}: {len(rows)} of {len(part)}; {right:.1%} were named as labelled")
