"""Assign groups to parts and folds by a draw that depends on their identity, not their order.

The part of a new group depends on the seed and the group's key alone; an earlier group stays where
it was. So the parts have the wanted shares in expectation only. `stratify: exact` meets the shares
within every class as closely as whole groups allow; then a new image can move groups that are near
the boundary between two parts.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError
from pipeline.core.params import Split
from pipeline.dataset.contents import Ints
from pipeline.dataset.split_table import PARTS, TEST
from pipeline.split.groups import Groups
from pipeline.split.leaks import Bools

Labels = NDArray[np.str_]


def chance(seed: int, key: str) -> float:
    """Return a pseudo-random number in [0, 1) that depends on the seed and the key alone.

    The number is the first 64 bits of a sha256, so it is uniform and the same on every machine.
    """
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def draw_parts(
    groups: Groups, labels: Labels, earlier: Labels, params: Split
) -> tuple[Labels, int]:
    """Return the part of each of n samples, and how many groups were moved to fill empty parts.

    `labels` (n,) are the samples' labels. `earlier` (g,) is the part that each group keeps, or
    "" for a new group. If the method is official, the test part is the publisher's. If the draw
    leaves a class out of a part, one of its groups moves there: a new group if one can move.

    Raises PipelineError if a class has fewer groups than there are parts.
    """
    draw = _draws(groups, params)
    is_old = earlier != ""
    is_fixed = (earlier == TEST) & (params.method == "official")
    test = 0.0 if params.method == "official" else params.test
    classes, label = np.unique(labels, return_inverse=True)
    place = draw if params.stratify == "expected" else _places(groups, label, draw, ~is_fixed)
    part = np.where(place < test, 2, np.where(place < test + params.valid, 1, 0))
    part[is_old] = [PARTS.index(name) for name in earlier[is_old].tolist()]
    wanted = [0] + [1] * (params.valid > 0) + [2] * (test > 0)
    pairs = np.unique(np.column_stack([label, groups.of]), axis=0)
    pairs = pairs[~is_fixed[pairs[:, 1]]]
    has = np.bincount(pairs[:, 0], minlength=classes.size)
    for name, found in zip(classes.tolist(), has.tolist(), strict=True):
        if found < len(wanted):
            parts = ", ".join(PARTS[number] for number in wanted)
            among = " in the publisher's train part" if params.method == "official" else ""
            raise PipelineError(
                f"split: class {name} has {found} groups of images{among} and needs "
                f"{len(wanted)}, one each for {parts}; add images or set a share to 0"
            )
    order = pairs[np.lexsort((draw[pairs[:, 1]], is_old[pairs[:, 1]], pairs[:, 0]))]
    moved = _fill(part, order, wanted, classes.tolist())
    return np.array(PARTS)[part[groups.of]], moved


def _draws(groups: Groups, params: Split) -> NDArray[np.float64]:
    return np.array([chance(params.seed, key) for key in groups.keys])


def _places(
    groups: Groups, label: Ints, draw: NDArray[np.float64], is_free: Bools
) -> NDArray[np.float64]:
    """Return each group's position (g,) in [0, 1) among its class's groups, ordered by their draws.

    A group takes up a share of the interval in proportion to its number of samples. Groups with
    samples of several classes count as one further class. `label` (n,) are class numbers; groups
    for which `is_free` (g,) is false take up nothing.
    """
    low, high = np.full(draw.size, label.max(initial=0) + 1), np.full(draw.size, -1)
    np.minimum.at(low, groups.of, label)
    np.maximum.at(high, groups.of, label)
    stratum = np.where(low == high, low, -1)
    size = np.where(is_free, np.bincount(groups.of, minlength=draw.size), 0)
    order = np.lexsort((draw, stratum))
    end = np.cumsum(size[order])
    first = np.flatnonzero(np.diff(stratum[order], prepend=-2))
    before = np.repeat((end - size[order])[first], np.diff(first, append=draw.size))
    total = np.repeat(np.add.reduceat(size[order], first), np.diff(first, append=draw.size))
    place = np.empty(draw.size)
    place[order] = (end - size[order] / 2 - before) / np.maximum(total, 1)
    return place


def _fill(part_of: Ints, pairs: Ints, wanted: list[int], names: list[str]) -> int:
    """Move a group into each part where its class has none; return how many were moved.

    `part_of` (g,) is changed in place. `pairs` (k, 2) are (class, group); within a class the groups
    that should move first come first. A move never takes a class's last group from a part.
    """
    count = np.zeros((len(names), len(PARTS)), np.int64)
    np.add.at(count, (pairs[:, 0], part_of[pairs[:, 1]]), 1)
    classes_of: dict[int, list[int]] = {}
    moved = 0
    for part in sorted(wanted, reverse=True):
        for name in np.flatnonzero(count[:, part] == 0).tolist():
            if count[name, part]:
                continue  # a move for another class has already filled this part
            if not classes_of:
                for one, group in pairs.tolist():
                    classes_of.setdefault(group, []).append(one)
            for group in pairs[pairs[:, 0] == name, 1].tolist():
                if (count[classes_of[group], part_of[group]] > 1).all():
                    count[classes_of[group], part_of[group]] -= 1
                    count[classes_of[group], part] += 1
                    part_of[group] = part
                    moved += 1
                    break
            else:
                raise PipelineError(
                    f"split: class {names[name]} cannot have a group in {PARTS[part]}: every "
                    "group that could move there is the last of some class in its own part; add "
                    "images or use smaller groups"
                )
    return moved


def draw_folds(groups: Groups, labels: Labels, is_in: Bools, params: Split) -> Ints:
    """Return the fold of each of n samples, or -1 where `is_in` (n,) is false; groups stay whole.

    Uses scikit-learn's StratifiedGroupKFold. Raises PipelineError if a class has fewer groups than
    folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    count = params.folds or 0
    inside = np.flatnonzero(is_in)
    for name in np.unique(labels[inside]).tolist():
        found = np.unique(groups.of[inside[labels[inside] == name]]).size
        if found < count:
            raise PipelineError(
                f"split: class {name} has {found} groups and needs {count}, one for each fold; "
                "add images or lower split.*.folds"
            )
    # Rows in the order of their groups' draws: the folds do not depend on the order of the samples.
    place = np.argsort(np.argsort(_draws(groups, params)))[groups.of]
    inside = inside[np.argsort(place[inside], kind="stable")]
    fold = np.full(groups.of.size, -1)
    kfold = StratifiedGroupKFold(count)
    for number, (_, held) in enumerate(kfold.split(inside, labels[inside], place[inside])):
        fold[inside[held]] = number
    return fold
