"""How soon planted wrong labels are met: among suspects, beside the losses of one trained model.

    python tests/benchmarks/suspects.py --data . --dataset dances --to /tmp/planted
    python tests/benchmarks/suspects.py --data . --dataset tamil --to /tmp/planted --size 32 \\
        --epochs 4 --folds 3

`--data` is a project whose dataset is split. A copy of it in `--to` gets wrong labels as a person
would give them, by relabelling in decisions.csv, for a share of the train and valid parts; what
was decided before stands. A killed run goes on in the same folder. The labels that were there are
taken for right, so that what a person would rightly doubt among them counts as a false alarm.
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

COPIED = ("samples.parquet", "dedupe.parquet", "pairs.parquet", "decisions.csv")


def stage(name: str, dataset: str, *options: str) -> None:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    command = [sys.executable, "-W", "ignore", "-m", f"pipeline.{name}", dataset, *options]
    subprocess.run(command, env=environment, check=True)


def copy(data: Path, dataset: str, size: int | None, epochs: int | None) -> None:
    """Copy what splitting and training need into this folder, with a lighter recipe."""
    values = yaml.safe_load((data / "params.yaml").read_text(encoding="utf-8"))
    changes = {"size": size, "unfrozen_epochs": epochs}
    values["train"][dataset] |= {name: value for name, value in changes.items() if value}
    Path("params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    folder = Path("data") / dataset
    folder.mkdir(parents=True)
    for name in COPIED:
        shutil.copy(data / folder / name, folder / name)


def plant(dataset: str, share: float, seed: int) -> None:
    """Relabel a share of the samples, each to another class by chance."""
    from pipeline.commands.suspects import pool
    from pipeline.dataset.decisions import Decision, append_decisions, now
    from pipeline.dataset.paths import dataset_folder
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
    append_decisions(dataset_folder(dataset) / "decisions.csv", wrong)


def compare(dataset: str, folds: int) -> None:
    """Print how many of the planted labels each order of the samples meets among the first k."""
    import pyarrow.parquet as pq

    from pipeline.commands.suspects import folds_of, lighter, out_of_fold, pool
    from pipeline.core.params import load_params, section
    from pipeline.dataset.decisions import read_decisions
    from pipeline.dataset.paths import dataset_folder
    from pipeline.dataset.split_table import label_indices, read_parts
    from pipeline.model.device import pick_device
    from pipeline.model.inputs import read_pictures
    from pipeline.model.metrics import losses, softmax
    from pipeline.model.network import load_model, predict_logits

    folder = dataset_folder(dataset)
    parts, params = read_parts(dataset), load_params()
    part = pool([parts["train"], parts["valid"]])
    labels = sorted(set(part.labels))
    actual = label_indices(part.labels, labels)
    said = read_decisions(folder / "decisions.csv")
    wrong = {each.content_id for each in said if each.reason == "planted"}
    planted = np.isin(part.content_ids, list(wrong))
    row = {name: place for place, name in enumerate(part.sample_ids)}
    table = pq.read_table(folder / "suspects.parquet")
    found = np.array([row[name] for name in table["sample_id"].to_pylist()], int)
    orders = {"suspects": found}

    split = section(params, "split", dataset).model_copy(update={"folds": folds})
    recipe = lighter(section(params, "train", dataset), None, None)
    unseen = out_of_fold(dataset, part, labels, folds_of(part, split), recipe)  # kept: no training
    given = unseen[np.arange(len(part)), actual]
    others = unseen.copy()
    others[np.arange(len(part)), actual] = 0
    orders["all, by margin"] = np.argsort(given - others.max(1), kind="stable")
    orders["all, by self-confidence"] = np.argsort(given, kind="stable")

    network, card = load_model(folder / "model")
    pixels = read_pictures(dataset, "judged", part.sample_ids, card.view).pixels
    seen = softmax(predict_logits(network, pixels, card, pick_device()), card.temperature)
    orders["a model's own losses"] = np.argsort(-losses(seen, actual), kind="stable")

    count = int(planted.sum())
    print(f"{dataset}: {count} planted of {len(part)}, {len(found)} suspects;", end=" ")
    print(f"named as labelled {(unseen.argmax(1) == actual).mean():.1%} unseen,", end=" ")
    print(f"{(seen.argmax(1) == actual).mean():.1%} by the model that was trained on most")
    print("order".ljust(24), "first k", "planted", "precision", "recall", sep="  ")
    for name, order in orders.items():
        for k in sorted({count, 2 * count, len(found)}):
            hits = int(planted[order[:k]].sum())
            looked = min(k, len(order))
            figures = f"{hits:7}  {hits / max(looked, 1):9.1%}  {hits / count:6.1%}"
            print(f"{name:24}  {looked:7}  {figures}")


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=ROOT, help="The project.")
@click.option("--dataset", required=True)
@click.option("--to", type=click.Path(path_type=Path), required=True, help="A folder of its own.")
@click.option("--share", default=0.05, show_default=True, help="Of the labels, made wrong.")
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
    """Plant, find, compare."""
    data = data.resolve()
    if not (to / "data" / dataset).exists():
        to.mkdir(parents=True, exist_ok=True)
        os.chdir(to)
        copy(data, dataset, size, epochs)
        stage("split", dataset)
        plant(dataset, share, seed)
        stage("split", dataset)
    os.chdir(to)
    stage("suspects", dataset, "--folds", str(folds))
    if not (Path("data") / dataset / "model").exists():
        stage("train", dataset)
    compare(dataset, folds)


if __name__ == "__main__":
    main()
