"""Measure how many planted wrong labels `kalai suspects` ranks first, compared with other orders.

    python tests/benchmarks/suspects.py --data . --dataset dances --to /tmp/planted
    python tests/benchmarks/suspects.py --data . --dataset tamil --to /tmp/planted --size 32 \\
        --epochs 4 --folds 3

`--data` is a project whose dataset has been split. The script copies it to `--to` and relabels a
share of the training and validation set in decisions.csv; earlier decisions stay in force. An
interrupted run continues in the same folder. The script counts all other labels as correct, so a
label that was wrong before counts as a false alarm.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import yaml

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.dataset.paths import (  # noqa: E402  (after the path)
    decisions_path,
    dedupe_path,
    model_folder,
    pairs_path,
    samples_path,
    split_path,
)

COPIED = (samples_path, dedupe_path, pairs_path, decisions_path)


def kalai(*arguments: str) -> None:
    """Run a command of kalai in this folder."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-W", "ignore", "-m", "pipeline.cli", *arguments]
    subprocess.run(command, env=environment, check=True)


def copy(data: Path, dataset: str, size: int | None, epochs: int | None) -> None:
    """Copy the inputs of split and train into this folder, with other train params if given."""
    values = yaml.safe_load((data / "params.yaml").read_text(encoding="utf-8"))
    changes = {"size": size, "unfrozen_epochs": epochs}
    values["train"][dataset] |= {name: value for name, value in changes.items() if value}
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    for path in (each(dataset) for each in COPIED):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / path, path)


def plant(dataset: str, share: float, seed: int) -> None:
    """Relabel a share of the samples, each as a random other class."""
    from pipeline.commands.suspects import pool
    from pipeline.dataset.decisions import Decision, append_decisions, now
    from pipeline.dataset.split_table import read_parts

    parts = read_parts(dataset)
    part = pool([parts["train"], parts["valid"]])
    classes = sorted(set(part.labels))
    rng = np.random.default_rng(seed)
    wrong = []
    for row in rng.choice(len(part), round(share * len(part)), replace=False).tolist():
        others = [label for label in classes if label != part.labels[row]]
        label = str(rng.choice(others))
        wrong.append(Decision(now(), part.content_ids[row], "relabel", label, "planted"))
    append_decisions(decisions_path(dataset), wrong)


def compare(dataset: str, folds: int) -> None:
    """Print the number of planted labels among the first k samples, for each order of samples."""
    from pipeline.commands.suspects import folds_of, lighter, out_of_fold, pool
    from pipeline.core.params import load_params, section
    from pipeline.dataset.columns import SAMPLE_ID
    from pipeline.dataset.decisions import read_decisions
    from pipeline.dataset.split_table import label_indices, read_parts
    from pipeline.dataset.suspects_table import read_suspects
    from pipeline.model.device import pick_device
    from pipeline.model.inputs import decoded_images
    from pipeline.model.metrics import losses, softmax
    from pipeline.model.network import load_model, predict_logits

    parts, params = read_parts(dataset), load_params()
    part = pool([parts["train"], parts["valid"]])
    labels = sorted(set(part.labels))
    actual = label_indices(part.labels, labels)
    decisions = read_decisions(decisions_path(dataset))
    wrong = {each.content_id for each in decisions if each.reason == "planted"}
    planted = np.isin(part.content_ids, list(wrong))
    row = {name: place for place, name in enumerate(part.sample_ids)}
    names = read_suspects(dataset)[SAMPLE_ID].to_pylist()
    found = np.array([row[name] for name in names], int)
    orders = {"suspects": found}

    split = section(params, "split", dataset).model_copy(update={"folds": folds})
    recipe = lighter(section(params, "train", dataset), None, None)
    unseen = out_of_fold(dataset, part, labels, folds_of(part, split), recipe)  # from the cache
    given = unseen[np.arange(len(part)), actual]
    others = unseen.copy()
    others[np.arange(len(part)), actual] = 0
    orders["all, by margin"] = np.argsort(given - others.max(1), kind="stable")
    orders["all, by self-confidence"] = np.argsort(given, kind="stable")

    network, card = load_model(model_folder(dataset))
    pixels = decoded_images(dataset, "judged", part.sample_ids, card.view).pixels
    seen = softmax(predict_logits(network, pixels, card, pick_device()), card.temperature)
    orders["losses of the trained model"] = np.argsort(-losses(seen, actual), kind="stable")

    count = int(planted.sum())
    print(f"{dataset}: {count} planted labels in {len(part)} images, {len(found)} suspects")
    print(f"out-of-fold accuracy {(unseen.argmax(1) == actual).mean():.1%};", end=" ")
    print(f"accuracy of the trained model {(seen.argmax(1) == actual).mean():.1%}")
    print("order".ljust(28), "first k", "planted", "precision", "recall", sep="  ")
    for name, order in orders.items():
        for k in sorted({count, 2 * count, len(found)}):
            hits = int(planted[order[:k]].sum())
            looked = min(k, len(order))
            figures = f"{hits:7}  {hits / max(looked, 1):9.1%}  {hits / count:6.1%}"
            print(f"{name:28}  {looked:7}  {figures}")


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=ROOT, help="Project to copy from.")
@click.option("--dataset", required=True)
@click.option("--to", type=click.Path(path_type=Path), required=True, help="Folder to work in.")
@click.option("--share", default=0.05, show_default=True, help="Share of wrong labels.")
@click.option("--seed", default=8, show_default=True)
@click.option("--folds", default=5, show_default=True)
@click.option("--size", type=int)
@click.option("--epochs", type=int)
def main(
    data: Path,
    dataset: str,
    to: Path,
    share: float,
    seed: int,
    folds: int,
    size: int | None,
    epochs: int | None,
) -> None:
    """Plant wrong labels, search for suspects, compare."""
    data = data.resolve()
    if not (to / split_path(dataset)).exists():
        to.mkdir(parents=True, exist_ok=True)
        os.chdir(to)
        copy(data, dataset, size, epochs)
        kalai("split", dataset)
        plant(dataset, share, seed)
        kalai("split", dataset)
    os.chdir(to)
    kalai("suspects", dataset, "--folds", str(folds))
    if not model_folder(dataset).exists():
        kalai("train", dataset)
    compare(dataset, folds)


if __name__ == "__main__":
    main()
