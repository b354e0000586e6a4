"""`kalai suspects` ranks planted wrong labels first, in any order of rows, and resumes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.commands.suspects import SURE, folds_of, main, pool, suspects
from pipeline.core.files import write_csv
from pipeline.core.params import Split
from pipeline.dataset.split_table import HEADER, Part, read_parts
from pipeline.dataset.suspects_table import SCHEMA
from tests.tables import picture, write

Project = Callable[..., Path]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def softened(labels: np.ndarray, classes: int, seed: int, strength: float = 3.0) -> np.ndarray:
    """Return the probabilities of a model that tends to agree with `labels`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(labels.size, classes))
    logits[np.arange(labels.size), labels] += strength
    powers = np.exp(logits)
    return np.asarray(powers / powers.sum(1, keepdims=True))


@given(st.integers(2, 8), st.integers(4, 30), st.integers(0, 2**32 - 1))
def test_planted_wrong_labels_are_found_first(classes: int, each: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(classes), each)
    probabilities = softened(truth, classes, seed, strength=12)  # separable
    labels = truth.copy()
    planted = rng.choice(truth.size, max(1, truth.size // 20), replace=False)
    labels[planted] = (truth[planted] + rng.integers(1, classes, planted.size)) % classes
    found = suspects(probabilities, labels)
    assert {each.row for each in found} == set(planted.tolist())
    assert all(each.suggested == truth[each.row] for each in found)


@given(st.integers(2, 6), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_a_row_holds_the_probabilities(classes: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    probabilities = softened(rng.integers(0, classes, count), classes, seed)
    found = suspects(probabilities, labels)
    assert len({each.row for each in found}) == len(found)
    order_of = [(each.label_probability, -each.margin) for each in found]
    assert order_of == sorted(order_of) and all(each.margin > 0 for each in found)
    for each in found:
        row, own = probabilities[each.row], probabilities[labels == each.suggested, each.suggested]
        assert each.suggested != labels[each.row]
        assert each.label_probability == row[labels[each.row]]
        assert each.suggested_probability == row[each.suggested] >= min(own.mean(), SURE) - 1e-12
        assert each.margin == each.suggested_probability - each.label_probability
    order = rng.permutation(count)
    again = suspects(probabilities[order], labels[order])
    assert [each._replace(row=int(order[each.row])) for each in again] == found


@given(st.integers(2, 6), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_labels_that_the_model_agrees_with_are_not_suspects(
    classes: int, count: int, seed: int
) -> None:
    probabilities = softened(np.random.default_rng(seed).integers(0, classes, count), classes, seed)
    assert suspects(probabilities, probabilities.argmax(1)) == []


def test_each_class_has_its_own_threshold() -> None:
    easy, hard = [0.95, 0.05], [0.45, 0.55]
    labels = np.array([0] * 9 + [1] * 9 + [0, 1])
    probabilities = np.array([easy] * 9 + [hard] * 9 + [[0.4, 0.6], [0.6, 0.4]])
    # 60% is much for the hard class and little for the easy one
    assert [(each.row, each.suggested) for each in suspects(probabilities, labels)] == [(18, 1)]


def test_a_class_without_a_sample_is_never_suggested() -> None:
    probabilities = np.array([[0.02, 0.03, 0.95], [0.04, 0.01, 0.95]])
    assert {each.suggested for each in suspects(probabilities, np.array([0, 1]))} == {0, 1}


def test_folds_keep_groups_and_do_not_depend_on_the_order_of_rows() -> None:
    rows = [(f"{n:03}", f"id{n}", "ab"[n % 2], f"g{n % 15}") for n in range(60)]
    part = Part(*map(list, zip(*rows, strict=True)))
    shuffled = [rows[n] for n in np.random.default_rng(8).permutation(60)]
    assert pool([Part(*map(list, zip(*shuffled, strict=True))), Part()]) == part
    fold = folds_of(part, Split(method="group", valid=0.2, test=0, folds=3)).tolist()
    assert set(fold) == {0, 1, 2}
    assert len(set(zip(part.groups, fold, strict=True))) == 15


RECIPE: dict[str, Any] = {
    "size": 16,
    "batch_size": 16,
    "frozen_epochs": 1,
    "unfrozen_epochs": 4,
    "lr_find_steps": 0,
    "checkpoint_s": 0,
    "device": "cpu",
    "precision": "fp32",
}


def make_world(project: Project, **changes: Any) -> tuple[Path, dict[str, str]]:
    """Write dark and light images, a few with the wrong label; return the folder and those few."""
    split = {"method": "group", "valid": 0.2, "test": 0.2}
    root = project(**{"train.sky": RECIPE | changes, "split.sky": split})
    samples, rows, planted = [], [], {}
    for n in range(160):
        rng = np.random.default_rng(n)
        truth, other = ("day", "night") if n % 2 else ("night", "day")
        light = rng.normal(180 if truth == "day" else 80, 25, (20, 20, 3)).clip(0, 255)
        name = f"{n:03}"
        row = picture(name, Image.fromarray(light.astype(np.uint8)), truth, sample_id=name)
        samples.append(row)
        part = "test" if n % 8 > 5 else "valid" if n % 8 > 4 else "train"
        if n % 15 == 4 and part != "test":
            planted[name], truth = truth, other
        rows.append((name, row["content_id"], truth, part, f"page{n // 4}", ""))
    write("sky", samples)
    folder = root / "data" / "sky"
    write_csv(folder / "split.csv", HEADER, rows)
    return folder, planted


def run(*options: str) -> Result:
    return CliRunner().invoke(main, ["sky", "--folds", "2", *options])


@pytest.mark.slow
def test_planted_labels_of_drawn_images_rank_first_and_a_stopped_run_resumes(
    project: Project,
) -> None:
    folder, planted = make_world(project)
    result = run()
    assert result.exit_code == 0, result.output
    table = pq.read_table(folder / "suspects.parquet")
    assert table.schema.equals(SCHEMA)
    rows = table.to_pylist()
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert len(planted) == 9 and len(rows) >= 6
    for row in rows[:6]:
        assert planted.get(row["sample_id"]) == row["suggested"] != row["label"]
    parts = read_parts("sky")
    known = {
        name: row
        for part in (parts["train"], parts["valid"])
        for name, *row in zip(*astuple(part), strict=True)
    }
    for row in rows:  # none of the test part
        assert [row["content_id"], row["label"]] == known[row["sample_id"]][:2]
    of_group = {(known[row["sample_id"]][2], row["fold"]) for row in rows}
    assert len(of_group) == len({group for group, _ in of_group})

    kept = sorted((folder / "cache" / "folds").iterdir())
    assert len(kept) == 2 and not list((folder / "cache").glob("fold-*"))
    (folder / "suspects.parquet").unlink()
    kept[0].unlink()  # as if the first run had been stopped in this fold
    again = run()
    assert again.stderr.count("(cached)") == 1 and again.stderr.count("epoch 1:") == 1
    assert pq.read_table(folder / "suspects.parquet").equals(table)
    assert sorted((folder / "cache" / "folds").iterdir()) == kept


@pytest.mark.slow
def test_the_test_set_is_included_on_request_and_other_params_are_another_run(
    project: Project,
) -> None:
    folder, _ = make_world(project, frozen_epochs=0, lr_find_steps=9, scratch_lr="auto")
    folds = folder / "cache" / "folds"
    folds.mkdir(parents=True)
    (folds / "of-another-run.npy").write_bytes(b"")
    result = run("--epochs", "1", "--size", "16", "--with-test")
    assert result.exit_code == 0, result.output
    assert re.search(r"\d+ suspects in 160 images \(out-of-fold accuracy \d", result.stdout)
    assert result.stderr.count("epoch 1:") == 2
    assert "epoch 2" not in result.stderr
    assert "of-another-run.npy" not in {path.name for path in folds.iterdir()}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ("--folds", "99"),
            "error: split: class day has 39 groups and needs 99, one for each fold",
        ),
        (("--size", "20"), "error: suspects: margin 10 leaves no pixels at size 20"),
    ],
)
def test_an_error_is_one_line(project: Project, options: tuple[str, ...], expected: str) -> None:
    make_world(project, margin=10, size=32)
    result = run(*options)
    assert result.exit_code == 1 and result.stderr.startswith(expected), result.output
    assert len(result.stderr.splitlines()) == 1
