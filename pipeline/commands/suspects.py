"""`kalai suspects`: find probably wrong labels with models that were not trained on them.

Confident learning: Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in
dataset labels", JAIR 70 (2021). This is not a stage, because no stage reads its result. A stage
would run again in each `dvc repro` that follows a decision, and train one model per fold.
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
from pipeline.core.params import Split, Train, first_problem, load_params, section
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
from pipeline.dataset.paths import cache_folder, checkpoint_path, suspects_path
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

SURE = 0.9  # the highest threshold: an easy class has a mean near 1, and half its samples below it
SHOWN = 10  # printed; the review page shows all

Row = dict[str, Any]  # of suspects.parquet


class Suspect(NamedTuple):
    """A sample whose label is probably wrong, identified by its row."""

    row: int
    suggested: int
    label_probability: float
    suggested_probability: float
    margin: float


def suspects(probabilities: Floats, labels: Ints) -> list[Suspect]:
    """Return the samples off the diagonal of the confident joint, lowest label probability first.

    Each row of `probabilities` (n, classes) comes from a model that was not trained on that sample.
    The threshold of a class is its mean probability over the samples with its label, which is low
    for a class that is hard to recognise. It is never above SURE. A sample is a suspect if a class
    reaches its own threshold and is more probable than the sample's label; the most probable such
    class is suggested. Samples are sorted by the probability of their label, because with many
    classes, the lead of the suggested class says little about the label.
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
    """Return the samples of several parts as one part, sorted by sample id."""
    rows = [row for part in parts for row in zip(*astuple(part), strict=True)]
    return Part(*map(list, zip(*sorted(rows), strict=True)))


def picked(part: Part, is_in: Bools) -> Part:
    """Return the samples of a part for which `is_in` is true."""
    rows = np.flatnonzero(is_in).tolist()
    return Part(*([column[row] for row in rows] for column in astuple(part)))


def folds_of(part: Part, params: Split) -> Ints:
    """Return each sample's fold.

    The samples of one group in split.csv stay in one fold, and so do copies of one image.
    """
    named = [group or content for group, content in zip(part.groups, part.content_ids, strict=True)]
    keys, of = np.unique(named, return_inverse=True)
    groups = Groups(of, keys.tolist(), np.zeros(keys.size, bool))
    return draw_folds(groups, np.array(part.labels), np.ones(len(part), bool), params)


def out_of_fold(dataset: str, part: Part, labels: list[str], fold: Ints, params: Train) -> Floats:
    """Return (n, classes) probabilities, each sample's from a model trained on the other folds.

    Each fold's temperature is fitted on that fold, so that folds can be compared. The logits of
    each finished fold are kept in the dataset's cache, so that an interrupted run can continue.
    """
    folder = cache_folder(dataset) / "folds"
    probabilities = np.zeros((len(part), len(labels)))
    kept = []
    for number in range(int(fold.max()) + 1):
        held = fold == number
        parts = {"train": picked(part, ~held), "valid": picked(part, held), "test": Part()}
        kept.append(folder / f"{purpose(params, parts)}.npy")
        is_done = kept[-1].exists()
        counts = f"{len(parts['train'])} training and {len(parts['valid'])} held-out images"
        cached = " (cached)" if is_done else ""
        print(f"fold {number + 1} of {fold.max() + 1}: {counts}{cached}", file=sys.stderr)
        if not is_done:
            write_logits(dataset, parts, params, kept[-1])
        logits = np.load(kept[-1])
        temperature = fit_temperature(logits, label_indices(parts["valid"].labels, labels))
        probabilities[held] = softmax(logits, temperature)
    for path in {*folder.iterdir(), *folder.parent.glob("fold-*.npy")} - set(kept):
        path.unlink()
    return probabilities


def write_logits(dataset: str, parts: dict[str, Part], params: Train, path: Path) -> None:
    """Train on `train` and write the (count, classes) logits of `valid` to `path`."""
    compute = choose(params)
    task = read_task(dataset, params, parts, cache="fold-")
    left = path.with_name(checkpoint_path(dataset).name)
    fit(task, plans(params, task.is_pretrained), compute, left, lambda _: None)
    logits = predict_logits(task.network, task.images["valid"].pixels, task.card, compute.device)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, logits)
    left.unlink(missing_ok=True)


def lighter(params: Train, epochs: int | None, size: int | None) -> Train:
    """Return params for a cheaper training run, with `epochs` and `size` replaced if given.

    The learning-rate search is skipped if no learning rate is "auto". Raises PipelineError if the
    values do not fit together.
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
        raise PipelineError(f"suspects: {first_problem(error)}") from error


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
@click.option(
    "--folds",
    default=5,
    show_default=True,
    type=click.IntRange(2),
    metavar="N",
    help="Folds, and models to train.",
)
@click.option(
    "--epochs",
    type=click.IntRange(1),
    metavar="N",
    help="Unfrozen epochs. [default: as in params.yaml]",
)
@click.option(
    "--size",
    type=click.IntRange(16, 1024),
    metavar="PIXELS",
    help="Side of the images. [default: as in params.yaml]",
)
@click.option(
    "--with-test",
    is_flag=True,
    help="Include the test set. Relabelling its suspects makes the test accuracy too optimistic.",
)
def main(
    dataset: str, *, folds: int, epochs: int | None, size: int | None, with_test: bool
) -> None:
    """Find probably wrong labels with models that were not trained on them.

    Divides the training and validation set into folds; near-duplicates and groups share a fold. The
    images of a fold are judged by a model that was trained on the other folds. An interrupted run
    continues. Writes suspects.parquet, which `kalai review` shows.

    \b
    Examples:
      kalai suspects dances
      kalai suspects dances --folds 3 --epochs 2 --size 96      a quick first search
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
    write_suspects(dataset, rows)
    for row in rows[:SHOWN]:
        click.echo(
            f"{row[RANK]:>3}. {row[SAMPLE_ID]}: labelled {row[LABEL]} "
            f"({row[LABEL_PROBABILITY]:.0%}), suggested {row[SUGGESTED]} "
            f"({row[SUGGESTED_PROBABILITY]:.0%})"
        )
    accuracy = (probabilities.argmax(1) == actual).mean()
    click.echo(
        f"{suspects_path(dataset)}: {len(rows)} suspects in {len(part)} images "
        f"(out-of-fold accuracy {accuracy:.1%})"
    )
