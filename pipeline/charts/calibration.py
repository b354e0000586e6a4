"""Whether the model is as often right as it is sure (Guo et al. 2017)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.charts.drawing import BLUE, GREY, ORANGE, drawing
from pipeline.measures import BINS, Floats, Ints, calibration_error


def draw_calibration(path: Path, probabilities: Floats, as_trained: Floats, actual: Ints) -> None:
    """Draw the share that is right by the probability given, before and after the temperature.

    Below, how many samples were given which probability. Both arrays are (samples, classes).
    """
    with drawing(path, (5.2, 6)) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        upper.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="as right as sure")
        if len(actual):
            for given, words, colour in (
                (as_trained, "as trained", ORANGE),
                (probabilities, "with its temperature", BLUE),
            ):
                sure, right = given.max(1), given.argmax(1) == actual
                bins = np.minimum((sure * BINS).astype(int), BINS - 1)
                counts = np.bincount(bins, minlength=BINS)
                held = counts > 0
                means = [
                    np.bincount(bins, what, BINS)[held] / counts[held] for what in (sure, right)
                ]
                error = calibration_error(given, actual)
                upper.plot(
                    *means, "o-", color=colour, markersize=4, label=f"{words}: off by {error:.1%}"
                )
            edges = np.linspace(0, 1, BINS + 1)
            lower.hist(probabilities.max(1), edges, color=BLUE, alpha=0.75)
        upper.set(ylabel="share right", xlim=(0, 1), ylim=(0, 1), title="Calibration")
        upper.grid()
        upper.legend(loc="upper left")
        lower.set(xlabel="probability given", ylabel="samples")
