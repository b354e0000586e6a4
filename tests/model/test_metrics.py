from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score, log_loss

from pipeline.model import metrics

seeds = st.integers(0, 2**32 - 1)


def sample(seed: int, count: int = 200, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    actual = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes)).astype(np.float32)
    logits[np.arange(count), actual] += 1.5
    return logits, actual


@given(seeds)
def test_summary_agrees_with_scikit_learn(seed: int) -> None:
    logits, actual = sample(seed)
    probabilities = metrics.softmax(logits)
    predicted = probabilities.argmax(1)
    found = metrics.summary(probabilities, actual)
    assert found["accuracy"] == pytest.approx((predicted == actual).mean())
    assert found["error_rate"] == pytest.approx(1 - found["accuracy"])
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(actual, predicted))
    present = sorted(set(actual.tolist()))
    assert found["macro_f1"] == pytest.approx(
        f1_score(actual, predicted, average="macro", labels=present, zero_division=0)
    )
    assert found["loss"] == pytest.approx(
        log_loss(actual, probabilities, labels=range(5)), rel=1e-4
    )
    matrix = metrics.confusion(actual, predicted, 5)
    assert (matrix == confusion_matrix(actual, predicted, labels=range(5))).all()
    assert found["accuracy"] <= found["top_3"] <= 1
    assert found["accuracy_low"] < found["accuracy"] < found["accuracy_high"]


@given(seeds)
def test_metrics_do_not_depend_on_the_order_of_samples(seed: int) -> None:
    logits, actual = sample(seed)
    order = np.random.default_rng(seed).permutation(len(actual))
    one = metrics.summary(metrics.softmax(logits), actual)
    other = metrics.summary(metrics.softmax(logits[order]), actual[order])
    assert one == pytest.approx(other)


def test_a_class_without_samples_is_not_averaged_in() -> None:
    probabilities = np.eye(3)[[0, 0, 1]]
    found = metrics.summary(probabilities, np.array([0, 0, 1]))
    assert found["classes"] == 2
    assert found["balanced_accuracy"] == found["macro_f1"] == 1


def test_an_empty_part_has_a_count_and_no_other_metric() -> None:
    assert metrics.summary(np.zeros((0, 4)), np.zeros(0, np.int64)) == {"count": 0}


def test_wilson_agrees_with_published_intervals() -> None:
    # Newcombe 1998, table I: 81 of 263 and 15 of 148, method 3
    assert metrics.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert metrics.wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert metrics.wilson(0, 20) == pytest.approx((0, 0.1611), abs=5e-5)
    assert metrics.wilson(20, 20)[1] == 1


@given(st.integers(1, 5000), st.floats(0, 1))
def test_wilson_agrees_with_scipy(count: int, share: float) -> None:
    right = round(share * count)
    low, high = binomtest(right, count).proportion_ci(0.95, method="wilson")
    assert metrics.wilson(right, count) == pytest.approx((low, high), abs=1e-7)


def test_the_balanced_accuracy_interval_contains_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(1)
    truth = np.array([0.9, 0.5, 0.97, 0.7])
    held = 0
    for _ in range(1000):
        right = rng.binomial(60, truth)
        matrix = np.diag(right)
        matrix[np.arange(4), [1, 2, 3, 0]] = 60 - right
        low, high = metrics.balanced_accuracy_interval(matrix)
        held += low <= truth.mean() <= high
    assert 920 <= held <= 980


@given(st.integers(1, 2**32 - 1), st.floats(0.3, 4))
def test_the_temperature_undoes_a_factor_of_the_logits(seed: int, factor: float) -> None:
    logits, actual = sample(seed, 400)
    plain = metrics.fit_temperature(logits, actual)
    scaled = metrics.fit_temperature(logits * np.float32(factor), actual)
    assert scaled == pytest.approx(plain * factor, rel=0.01)


@pytest.mark.parametrize(("count", "least"), [(32, 0.95), (3000, 0.999)])
def test_few_samples_without_errors_do_not_make_the_model_certain(count: int, least: float) -> None:
    actual = np.arange(count) % 4
    logits = np.eye(4, dtype=np.float32)[actual] * 5
    sure = metrics.softmax(logits, metrics.fit_temperature(logits, actual)).max(1)
    assert (sure > least).all() and (sure < count / (count + 0.5)).all()


def test_the_temperature_lowers_the_calibration_error_and_changes_no_prediction() -> None:
    logits, actual = sample(3, 3000)
    sure = logits * 4
    temperature = metrics.fit_temperature(sure, actual)
    before, after = metrics.softmax(sure), metrics.softmax(sure, temperature)
    assert (before.argmax(1) == after.argmax(1)).all()
    assert metrics.calibration_error(after, actual) < 0.05
    assert metrics.calibration_error(before, actual) > 0.1


def test_calibration_error_of_a_known_case() -> None:
    # 10 predictions at 0.8, of which 5 are right: the gap is 0.3
    probabilities = np.tile([0.8, 0.2], (10, 1))
    actual = np.array([0] * 5 + [1] * 5)
    assert metrics.calibration_error(probabilities, actual) == pytest.approx(0.3)


def test_the_most_confused_pairs_are_errors_only_the_most_frequent_first() -> None:
    matrix = np.array([[9, 2, 0], [5, 1, 0], [0, 2, 7]])
    assert metrics.most_confused(matrix) == [(1, 0, 5), (0, 1, 2), (2, 1, 2)]
    assert metrics.most_confused(matrix, at_least=3) == [(1, 0, 5)]


def test_per_class_is_none_for_0_of_0() -> None:
    rows = metrics.per_class(np.array([[3, 0, 0], [1, 0, 0], [0, 0, 0]]))
    assert rows[0] == {"count": 3, "right": 3, "accuracy": 1, "precision": 0.75, "f1": 6 / 7}
    assert rows[1]["accuracy"] == 0 and rows[1]["precision"] is None
    assert rows[2] == {"count": 0, "right": 0, "accuracy": None, "precision": None, "f1": None}


def test_each_metric_of_the_table_is_better_for_better_predictions() -> None:
    actual = np.arange(40) % 4
    right, wrong = (
        metrics.summary(metrics.softmax(np.eye(4)[(actual + shift) % 4] * 9), actual)
        for shift in (0, 1)
    )
    assert list(right) == ["count", "right", "classes", *metrics.METRICS]
    for name, metric in metrics.METRICS.items():
        if name != "top_3":  # the other classes tie, so both have all of them
            better, worse = (right, wrong) if metric.direction == "higher" else (wrong, right)
            assert better[name] > worse[name], name
