"""How good predictions are, with how sure that is: pure functions of arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

CONFIDENCE_Z = 1.959964  # 95%
BINS = 15  # of the calibration error, as in Guo et al. 2017


def confusion(actual: Ints, predicted: Ints, classes: int) -> Ints:
    """Return (classes, classes) counts: rows are actual, columns predicted."""
    flat = np.bincount(actual * classes + predicted, minlength=classes**2)
    return flat.reshape(classes, classes).astype(np.int64)


def wilson(right: int, count: int) -> tuple[float, float]:
    """Return the 95% interval of a share (Wilson 1927): sound for few samples and near 0 or 1."""
    share, z2 = right / count, CONFIDENCE_Z**2
    centre = (share + z2 / (2 * count)) / (1 + z2 / count)
    half = math.sqrt(share * (1 - share) / count + z2 / (4 * count**2)) * CONFIDENCE_Z
    half /= 1 + z2 / count
    return max(0.0, centre - half), min(1.0, centre + half)


def class_averaged_interval(matrix: Ints) -> tuple[float, float]:
    """Return the 95% interval of the mean of the classes' accuracies.

    Normal, with each class's binomial variance under Laplace's estimate ((right + 1) / (n + 2)),
    so that a class without an error is not taken for certain.
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
    """Return count, right, accuracy (recall), precision and F1 of each class; None where 0 / 0."""
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
    """Return (actual, predicted, count) of the wrong pairs, most frequent first."""
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
    """Return the cross-entropy of each sample."""
    given = probabilities[np.arange(len(actual)), actual]
    return -np.log(np.maximum(given, np.finfo(np.float64).tiny))


def softmax(logits: NDArray[np.floating[Any]], temperature: float = 1.0) -> Floats:
    """Return the probabilities of (n, classes) logits divided by the temperature."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(1, keepdims=True)
    powers = np.exp(scaled)
    return np.asarray(powers / powers.sum(1, keepdims=True))


def fit_temperature(logits: NDArray[np.floating[Any]], actual: Ints) -> float:
    """Return the temperature that gives the least cross-entropy (Guo et al. 2017).

    Against n pictures and one more that is of all classes alike, or a few pictures that are all
    right would make the model infinitely sure (Platt 1999 has such targets). Between 1/20 and 20,
    by golden section on its logarithm: the loss has one minimum there. 1 where there is nothing to
    fit on.
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


def summary(probabilities: Floats, actual: Ints) -> dict[str, Any]:
    """Return the metrics of a part from its (n, classes) probabilities; counts alone if empty."""
    classes = probabilities.shape[1]
    if not len(actual):
        return {"count": 0}
    matrix = confusion(actual, probabilities.argmax(1), classes)
    right, count = int(matrix.trace()), len(actual)
    rows = [row for row in per_class(matrix) if row["count"]]
    given = probabilities[np.arange(count), actual]
    rank = (probabilities > given[:, None]).sum(1)
    low, high = wilson(right, count)
    class_low, class_high = class_averaged_interval(matrix)
    return {
        "count": count,
        "right": right,
        "classes": len(rows),
        "accuracy": right / count,
        "accuracy_low": low,
        "accuracy_high": high,
        "error_rate": 1 - right / count,
        "class_averaged_accuracy": sum(row["accuracy"] for row in rows) / len(rows),
        "class_averaged_low": class_low,
        "class_averaged_high": class_high,
        "top_3": float((rank < 3).mean()),
        "macro_f1": sum(row["f1"] for row in rows) / len(rows),
        "loss": float(losses(probabilities, actual).mean()),
        "calibration_error": calibration_error(probabilities, actual),
    }
