"""Words for what reports hold, shared by `kalai report`, `kalai card` and `kalai status`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from pipeline.dataset.pairs_table import KINDS
from pipeline.dataset.split_table import OUT, TEST, TRAIN, VALID

SETS = {TRAIN: "training set", VALID: "validation set", TEST: "test set", OUT: "left out"}
LEAKS = {  # key of the leak audit in split.json -> what the training set has that matches an image
    "same_bytes": "an identical image",
    **{kind.leak: kind.counterpart for kind in KINDS.values()},
    "same_group": "an image of the same group",
    "perhaps": "perhaps a near-duplicate",
}


def leak_name(key: str) -> str:
    """Return the words for a key of the leak audit."""
    return LEAKS.get(key, key.replace("_", " "))


def mean_and_sd(of_random_splits: Mapping[str, float]) -> str:
    """Return a mean share over random splits with its standard deviation: `12.3% ± 0.4`."""
    return f"{of_random_splits['mean']:.1%} ± {100 * of_random_splits['sd']:.1f}"


def method_line(method: str) -> str:
    """Return a sentence about a split's method."""
    if method == "random":
        return "Method: random; groups are not kept together."
    return f"Method: {method}; no group has images in two sets."


def unknown_licences(count: int) -> str:
    """Return the notice about images without a known licence."""
    return (
        f"Licence unknown: {count} images. You may look at them here. "
        "Get their creators' permission before you publish them."
    )


def counts(by_reason: Mapping[str, int]) -> str:
    """Return counts, the largest first: `http-404 8, truncated 2`; "none" if all are zero."""
    found = [(name, count) for name, count in Counter(by_reason).most_common() if count]
    return ", ".join(f"{name} {count}" for name, count in found) or "none"
