"""Metrics of predictions with their confidence intervals: pure functions of arrays.

To add a metric to evaluate.json, write its function and an entry in `METRICS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

CONFIDENCE_Z = 1.959964  # two-sided 95% quantile of the normal distribution
BINS = 15  # for the calibration error, as in Guo et al. 2017


def confusion(actual: Ints, predicted: Ints, classes: int) -> Ints:
    """Return the confusion matrix (classes, classes): rows are actual, columns predicted.

    `actual` and `predicted` (n,) are class numbers from 0.
    """
    from sklearn.metrics import confusion_matrix

    if not len(actual):
        return np.zeros((classes, classes), np.int64)
    return np.asarray(confusion_matrix(actual, predicted, labels=range(classes)), np.int64)


def wilson(right: int, count: int) -> tuple[float, float]:
    """Return the 95% Wilson interval of `right` successes in `count` trials (Wilson 1927).

    It is valid for few trials and for shares near 0 or 1. scipy's `binomtest` is not used: its
    normal quantile has more digits, so bounds would differ from earlier reports in the ninth digit.
    """
    share, z2 = right / count, CONFIDENCE_Z**2
    middle = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = CONFIDENCE_Z * math.sqrt(share * (1 - share) / count + z2 / (4 * count**2))
    half /= 1 + z2 / count
    return max(0.0, middle - half), min(1.0, middle + half)


def balanced_accuracy_interval(matrix: Ints) -> tuple[float, float]:
    """Return the 95% interval of the balanced accuracy of a confusion matrix.

    The interval is a normal approximation; its variance comes from the binomial variance of each
    class's recall. The variance uses Laplace's estimate (right + 1) / (n + 2), so that it is not
    zero for a class without errors.
    """
    counts = matrix.sum(1)
    held = counts > 0
    right, count = matrix.diagonal()[held], counts[held]
    guess = (right + 1) / (count + 2)
    deviation = math.sqrt(float((guess * (1 - guess) / count).sum())) / len(count)
    mean = float((right / count).mean())
    half = CONFIDENCE_Z * deviation
    return max(0.0, mean - half), min(1.0, mean + half)


def per_class(matrix: Ints) -> list[dict[str, Any]]:
    """Return count, right, accuracy (recall), precision and F1 of each class; None for 0 / 0."""
    rows = []
    for place in range(len(matrix)):
        count, named = int(matrix[place].sum()), int(matrix[:, place].sum())
        right = int(matrix[place, place])
        rows.append(
            {
                "count": count,
                "right": right,
                "accuracy": right / count if count else None,
                "precision": right / named if named else None,
                "f1": 2 * right / (count + named) if count + named else None,
            }
        )
    return rows


def most_confused(matrix: Ints, at_least: int = 1) -> list[tuple[int, int, int]]:
    """Return (actual, predicted, count) of each kind of error, the most frequent first."""
    pairs = [
        (int(actual), int(predicted), int(matrix[actual, predicted]))
        for actual, predicted in zip(*np.nonzero(matrix), strict=True)
        if actual != predicted and matrix[actual, predicted] >= at_least
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1]))


def calibration_error(probabilities: Floats, actual: Ints) -> float:
    """Return the expected calibration error of (n, classes) probabilities (Guo et al. 2017)."""
    sure, right = probabilities.max(1), probabilities.argmax(1) == actual
    places = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    gap = np.bincount(places, sure - right, minlength=BINS)
    return float(np.abs(gap).sum() / len(actual))


def losses(probabilities: Floats, actual: Ints) -> Floats:
    """Return the cross-entropy (n,) of (n, classes) probabilities, in nats."""
    given = probabilities[np.arange(len(actual)), actual]
    return -np.log(np.maximum(given, np.finfo(np.float64).tiny))


def softmax(logits: NDArray[np.floating[Any]], temperature: float = 1.0) -> Floats:
    """Return the probabilities of (n, classes) logits divided by the temperature."""
    from scipy.special import softmax as scipy_softmax

    return np.asarray(scipy_softmax(logits.astype(np.float64) / temperature, axis=1))


def fit_temperature(logits: NDArray[np.floating[Any]], actual: Ints) -> float:
    """Return the temperature with the least cross-entropy (Guo et al. 2017); 1 without samples.

    Adds one pseudo-sample with uniform class probabilities (as in Platt 1999). Without it, a few
    samples that are all predicted correctly would make the model infinitely confident. The search
    is a golden section on the logarithm, between 1/20 and 20; the loss has a single minimum there.
    """
    n = len(actual)
    if not n:
        return 1.0

    def loss(log_temperature: float) -> float:
        scaled = logits.astype(np.float64) / math.exp(log_temperature)
        scaled -= scaled.max(1, keepdims=True)
        logs = scaled - np.log(np.exp(scaled).sum(1, keepdims=True))
        return float(-n * logs[np.arange(n), actual].mean() - logs.mean())

    low, high, golden = -math.log(20), math.log(20), (math.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        left, right = high - golden * (high - low), low + golden * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


class Metric(NamedTuple):
    """A metric of evaluate.json: how it is computed, and how two values compare."""

    compute: Callable[[Scores], float]
    direction: Literal["higher", "lower"]  # which value is better


class Scores:
    """The input to metrics: probabilities (n, classes) and actual classes (n,), with n > 0."""

    def __init__(self, probabilities: Floats, actual: Ints) -> None:
        self.probabilities, self.actual = probabilities, actual
        self.count = len(actual)
        self.matrix = confusion(actual, probabilities.argmax(1), probabilities.shape[1])
        self.right = int(self.matrix.trace())
        self.rows = [row for row in per_class(self.matrix) if row["count"]]
        self.interval = wilson(self.right, self.count)
        self.balanced_interval = balanced_accuracy_interval(self.matrix)


def balanced_accuracy(rows: Sequence[Mapping[str, Any]]) -> float:
    """Return the mean recall of the classes that have samples; `rows` come from `per_class`.

    It is also called macro-averaged recall; scikit-learn has it as `balanced_accuracy_score`.
    """
    recalls = [row["accuracy"] for row in rows if row["count"]]
    return float(sum(recalls) / len(recalls))


def _top_3(scores: Scores) -> float:
    given = scores.probabilities[np.arange(scores.count), scores.actual]
    rank = (scores.probabilities > given[:, None]).sum(1)
    return float((rank < 3).mean())


# In the order of evaluate.json.
METRICS: dict[str, Metric] = {
    "accuracy": Metric(lambda scores: scores.right / scores.count, "higher"),
    "accuracy_low": Metric(lambda scores: scores.interval[0], "higher"),
    "accuracy_high": Metric(lambda scores: scores.interval[1], "higher"),
    "error_rate": Metric(lambda scores: 1 - scores.right / scores.count, "lower"),
    "balanced_accuracy": Metric(lambda scores: balanced_accuracy(scores.rows), "higher"),
    "balanced_accuracy_low": Metric(lambda scores: scores.balanced_interval[0], "higher"),
    "balanced_accuracy_high": Metric(lambda scores: scores.balanced_interval[1], "higher"),
    "top_3": Metric(_top_3, "higher"),
    "macro_f1": Metric(
        lambda scores: float(sum(row["f1"] for row in scores.rows) / len(scores.rows)), "higher"
    ),
    "loss": Metric(
        lambda scores: float(losses(scores.probabilities, scores.actual).mean()), "lower"
    ),
    "calibration_error": Metric(
        lambda scores: calibration_error(scores.probabilities, scores.actual), "lower"
    ),
}


def summary(probabilities: Floats, actual: Ints) -> dict[str, Any]:
    """Return the metrics of (n, classes) probabilities by name; only the count if n is 0."""
    if not len(actual):
        return {"count": 0}
    scores = Scores(probabilities, actual)
    counts = {"count": scores.count, "right": scores.right, "classes": len(scores.rows)}
    return counts | {name: metric.compute(scores) for name, metric in METRICS.items()}
