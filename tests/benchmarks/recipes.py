"""Which training recipe is best, judged on the validation part alone.

    python tests/benchmarks/recipes.py --list
    python tests/benchmarks/recipes.py --data . --dataset tamil --recipes plain,96,96+20-epochs
    python tests/benchmarks/recipes.py --data . --dataset tamil --recipes plain --seeds 8,9,10 \\
        --test --out results.csv

`--data` is a project whose dataset is converted and split. Each recipe is params.yaml's with a
few changes, trained in a folder of its own by `kalai train` itself; a line is written as soon as
it is known, so a run that is cut short leaves what it found. `--classes` and `--share` make a
search affordable on a CPU. `--test` looks at the test part, too: for the one recipe that was
chosen, at the end. `--refit` trains it on the validation part, too, so that nothing but the test
part is left to judge it by. `--random` draws parts of the same sizes with no heed to writers or
publisher, for the flattering number beside the honest one.
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

Changes = dict[str, Any]  # by dotted name inside train.<dataset>

RECIPES: dict[str, Changes] = {
    "plain": {},
    # how much is seen
    "48": {"size": 48},
    "80": {"size": 80},
    "96": {"size": 96, "margin": 3},
    "128": {"size": 128, "margin": 4},
    # how long
    "20-epochs": {"unfrozen_epochs": 20},
    "30-epochs": {"unfrozen_epochs": 30},
    "7-epochs": {"unfrozen_epochs": 7},
    # how hands vary
    "no-augment": {"augment": {}},
    "elastic-some": {"augment.elastic": 0.03},
    "elastic-more": {"augment.elastic": 0.04},
    "stroke-more": {"augment.stroke": 0.75},
    "light": {"augment.light": 0.3},
    "affine-less": {"augment.rotate": 8, "augment.shear": 0.15, "augment.aspect": 0.1},
    "affine-more": {"augment.rotate": 15, "augment.shear": 0.35, "augment.aspect": 0.25},
    "mixup": {"mixup": 0.2},
    # how it learns
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
    """Return a section with changes made in it."""
    result = yaml.safe_load(yaml.safe_dump(values))
    for dotted, value in changes.items():
        *parents, last = dotted.split(".")
        at = result
        for parent in parents:
            at = at[parent]
        at[last] = value
    return dict(result)


def write_split(source: Path, target: Path, options: Changes) -> None:
    """Copy a split with the first classes and a share of the train part (chosen by identity)."""
    share, test = options["share"], options["test"]
    with source.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if options["random"]:
        inside = [row for row in rows if row["part"] != "out"]
        parts = [row["part"] for row in inside]
        random.Random(8).shuffle(parts)
        for row, part in zip(inside, parts, strict=True):
            row["part"] = part
    if options["refit"]:
        for row in rows:
            row["part"] = "train" if row["part"] == "valid" else row["part"]
    kept = set(sorted({row["label"] for row in rows})[: options["classes"]])
    for row in rows:
        rank = int(hashlib.sha256(row["sample_id"].encode()).hexdigest()[:8], 16) / 2**32
        is_out = row["label"] not in kept or (row["part"] == "train" and rank >= share)
        if is_out or (row["part"] == "test" and not test):
            row["part"] = "out"
    with target.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def attempt(project: Path, dataset: str, section: Changes, test: bool) -> dict[str, Any]:
    """Train and measure in a project's folder; return a row of figures."""
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
    found = yaml.safe_load((project / "data" / dataset / "reports" / "evaluate.json").read_text())
    valid, tested = found["valid"], found["test"]
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
    """Say what can be tried, and end."""
    if is_asked:
        for name, changes in RECIPES.items():
            print(f"{name:14} {changes}")
        context.exit()


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=ROOT, help="The project.")
@click.option("--dataset", required=True)
@click.option("--recipes", default="plain", help="Names, with + to combine: plain,96+mixup.")
@click.option("--seeds", default="8", show_default=True)
@click.option("--classes", type=int, help="The first so many alone.")
@click.option("--share", default=1.0, show_default=True, help="Of the train part.")
@click.option("--minutes", type=float, help="Begin nothing after so many.")
@click.option("--device", default="auto", type=click.Choice(["auto", "cuda", "mps", "cpu"]))
@click.option("--test", is_flag=True, help="Measure on the test part, too.")
@click.option("--refit", is_flag=True, help="Train on the validation part, too.")
@click.option("--random", is_flag=True, help="Parts of the same sizes, drawn blindly.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("recipes.csv"))
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=list_recipes,
    help="Say what can be tried.",
)
def main(**options: Any) -> None:
    """Search."""
    if options["refit"] and not options["test"]:
        raise click.UsageError("--refit leaves nothing to judge by without --test")
    dataset, out = options["dataset"], options["out"].resolve()
    source = options["data"].resolve() / "data" / dataset
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
                folder = Path(scratch) / "data" / dataset
                folder.mkdir(parents=True)
                (folder / "samples.parquet").symlink_to(source / "samples.parquet")
                write_split(source / "split.csv", folder / "split.csv", options)
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
    judges = ["valid"] * (not options["refit"]) + ["test"] * options["test"]
    for recipe, rows in sorted(found.items(), key=lambda item: -mean(item[1], judges[0])):
        means = ", ".join(f"{mean(rows, part):.2%} on {part}" for part in judges)
        print(f"{recipe:30} {means}, {len(rows)} seeds, {rows[0]['seconds']:.0f} s")


def mean(rows: list[dict[str, Any]], part: str) -> float:
    """Return the mean class-averaged accuracy over seeds."""
    return statistics.mean(row[f"{part}_class_averaged"] or 0 for row in rows)


if __name__ == "__main__":
    main()
