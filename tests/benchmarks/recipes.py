"""Compare training recipes on the validation set.

    python tests/benchmarks/recipes.py --list
    python tests/benchmarks/recipes.py --data . --dataset tamil --recipes plain,96,96+20-epochs
    python tests/benchmarks/recipes.py --data . --dataset tamil --recipes plain --seeds 8,9,10 \\
        --test --out results.csv

`--data` is a project whose dataset is converted and split. A recipe is the params of the dataset
with a few changes. The script trains each in a folder of its own with the stage `train`, and writes
its line at once: an interrupted run keeps its results. `--classes` and `--share` make a search
affordable on a CPU. `--test` also measures the test set: use it once, for the chosen recipe.
`--refit` also trains on the validation set; then only the test set is left to measure. `--random`
draws sets of the same sizes at random, whatever their writers or publishers; its number is too
high, and shows by how much.
"""

from __future__ import annotations

import csv
import hashlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import yaml

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT))

from pipeline.core.files import read_json, write_csv  # noqa: E402  (after the path)
from pipeline.dataset.columns import LABEL, PART, SAMPLE_ID  # noqa: E402
from pipeline.dataset.paths import report_path, samples_path, split_path  # noqa: E402
from pipeline.dataset.split_table import OUT, TEST, TRAIN, VALID  # noqa: E402

Changes = dict[str, Any]  # by dotted name inside train.<dataset>

RECIPES: dict[str, Changes] = {
    "plain": {},
    # size of the input
    "48": {"size": 48},
    "80": {"size": 80},
    "96": {"size": 96, "margin": 3},
    "128": {"size": 128, "margin": 4},
    # epochs
    "20-epochs": {"unfrozen_epochs": 20},
    "30-epochs": {"unfrozen_epochs": 30},
    "7-epochs": {"unfrozen_epochs": 7},
    # augmentation
    "no-augment": {"augment": {}},
    "elastic-some": {"augment.elastic": 0.03},
    "elastic-more": {"augment.elastic": 0.04},
    "stroke-more": {"augment.stroke": 0.75},
    "light": {"augment.light": 0.3},
    "affine-less": {"augment.rotate": 8, "augment.shear": 0.15, "augment.aspect": 0.1},
    "affine-more": {"augment.rotate": 15, "augment.shear": 0.35, "augment.aspect": 0.25},
    "mixup": {"mixup": 0.2},
    # optimisation
    "no-smoothing": {"label_smoothing": 0.0},
    "rate-low": {"scratch_lr": 0.0015},
    "rate-high": {"scratch_lr": 0.006},
    "decay-low": {"weight_decay": 0.01},
    "decay-high": {"weight_decay": 0.1},
    "dropout-none": {"dropout": 0.0},
    "batch-256": {"batch_size": 256, "scratch_lr": 0.004},
    "batch-512": {"batch_size": 512, "scratch_lr": 0.006},
}
HEADER = (
    "recipe",
    "seed",
    "valid_balanced_accuracy",
    "valid_accuracy",
    "valid_loss",
    "test_balanced_accuracy",
    "test_low",
    "test_high",
    "test_top_3",
    "seconds",
)


def changed(values: Changes, changes: Changes) -> Changes:
    """Return a copy of a section of params with changes."""
    result = yaml.safe_load(yaml.safe_dump(values))
    for dotted, value in changes.items():
        *parents, last = dotted.split(".")
        at = result
        for parent in parents:
            at = at[parent]
        at[last] = value
    return dict(result)


def write_split(source: Path, target: Path, options: Changes) -> None:
    """Copy a split with fewer classes and a share of the training set, chosen by sample id."""
    share, test = options["share"], options["test"]
    with source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if options["random"]:
        inside = [row for row in rows if row[PART] != OUT]
        parts = [row[PART] for row in inside]
        random.Random(8).shuffle(parts)
        for row, part in zip(inside, parts, strict=True):
            row[PART] = part
    if options["refit"]:
        for row in rows:
            row[PART] = TRAIN if row[PART] == VALID else row[PART]
    kept = set(sorted({row[LABEL] for row in rows})[: options["classes"]])
    for row in rows:
        rank = int(hashlib.sha256(row[SAMPLE_ID].encode()).hexdigest()[:8], 16) / 2**32
        is_out = row[LABEL] not in kept or (row[PART] == TRAIN and rank >= share)
        if is_out or (row[PART] == TEST and not test):
            row[PART] = OUT
    write_csv(target, list(rows[0]), [list(row.values()) for row in rows])


def attempt(project: Path, dataset: str, section: Changes, test: bool) -> dict[str, Any]:
    """Train and evaluate in the folder of a project; return the results."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    values["train"], values["evaluate"] = {dataset: section}, {dataset: {}}
    (project / "params.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
    began = time.monotonic()
    for stage in ("train", "evaluate"):
        command = [sys.executable, "-m", f"pipeline.{stage}", dataset]
        subprocess.run(command, cwd=project, env=environment, check=True)
        if stage == "train":
            seconds = time.monotonic() - began
    found = read_json(project / report_path(dataset, "evaluate"))
    valid, tested = found[VALID], found[TEST]
    return {
        "valid_balanced_accuracy": valid.get("balanced_accuracy"),
        "valid_accuracy": valid.get("accuracy"),
        "valid_loss": valid.get("loss"),
        "test_balanced_accuracy": tested.get("balanced_accuracy") if test else None,
        "test_low": tested.get("balanced_accuracy_low") if test else None,
        "test_high": tested.get("balanced_accuracy_high") if test else None,
        "test_top_3": tested.get("top_3") if test else None,
        "seconds": round(seconds, 1),
    }


def list_recipes(context: click.Context, _: click.Parameter, is_asked: bool) -> None:
    """Print the recipes and exit."""
    if is_asked:
        for name, changes in RECIPES.items():
            print(f"{name:14} {changes}")
        context.exit()


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path), default=ROOT, help="Folder of the project."
)
@click.option("--dataset", required=True)
@click.option("--recipes", default="plain", help="Names; + combines: plain,96+mixup.")
@click.option("--seeds", default="8", show_default=True)
@click.option("--classes", type=int, help="Use only the first N classes.")
@click.option("--share", default=1.0, show_default=True, help="Share of the training set to use.")
@click.option("--minutes", type=float, help="Start no training after this many minutes.")
@click.option("--device", default="auto", type=click.Choice(["auto", "cuda", "mps", "cpu"]))
@click.option("--test", is_flag=True, help="Also measure the test set.")
@click.option("--refit", is_flag=True, help="Also train on the validation set.")
@click.option("--random", is_flag=True, help="Draw sets of the same sizes at random.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("recipes.csv"))
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=list_recipes,
    help="List the recipes.",
)
def main(**options: Any) -> None:
    """Train each recipe with each seed, and print the mean results, the best first."""
    if options["refit"] and not options["test"]:
        raise click.UsageError(
            "--refit needs --test: it trains on the validation set, which then measures nothing"
        )
    dataset, out = options["dataset"], options["out"].resolve()
    source = options["data"].resolve()
    base = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["train"][dataset]
    began = time.monotonic()
    found: dict[str, list[dict[str, Any]]] = {}
    for recipe in options["recipes"].split(","):
        section = base | {"device": options["device"], "lr_find_steps": 0}
        for name in recipe.split("+"):
            section = changed(section, RECIPES[name])
        for seed in options["seeds"].split(","):
            if options["minutes"] and time.monotonic() - began > 60 * options["minutes"]:
                print(f"{recipe}, seed {seed}: no time left")
                continue
            with tempfile.TemporaryDirectory() as scratch:
                samples = Path(scratch) / samples_path(dataset)
                samples.parent.mkdir(parents=True)
                samples.symlink_to(source / samples_path(dataset))
                split = split_path(dataset)
                write_split(source / split, Path(scratch) / split, options)
                print(f"== {recipe}, seed {seed}", flush=True)
                row = attempt(
                    Path(scratch), dataset, section | {"seed": int(seed)}, options["test"]
                )
            is_new = not out.exists()
            with out.open("a", encoding="utf-8", newline="") as file:
                writer = csv.DictWriter(file, HEADER, lineterminator="\n")
                if is_new:
                    writer.writeheader()
                marks = "".join(f", {name}" for name in ("refit", "random") if options[name])
                writer.writerow({"recipe": recipe + marks, "seed": seed} | row)
            found.setdefault(recipe, []).append(row)
            print(row, flush=True)
    measured = [VALID] * (not options["refit"]) + [TEST] * options["test"]
    for recipe, rows in sorted(found.items(), key=lambda item: -mean(item[1], measured[0])):
        means = ", ".join(f"{mean(rows, part):.2%} on {part}" for part in measured)
        seconds = rows[0]["seconds"]
        print(f"{recipe:30} balanced accuracy {means}, {len(rows)} seeds, {seconds:.0f} s")


def mean(rows: list[dict[str, Any]], part: str) -> float:
    """Return the mean balanced accuracy over seeds."""
    return statistics.mean(row[f"{part}_balanced_accuracy"] or 0 for row in rows)


if __name__ == "__main__":
    main()
