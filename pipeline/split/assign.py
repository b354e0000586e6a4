"""Chance, by identity: which part each group goes to, and which fold.

A new group's part depends on the seed and its key alone, and an old one stays where it was. The
price is that a class's share of a part is met in expectation; `exact` meets it as well as whole
groups allow, and then a new picture moves those at the border.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PipelineError
from pipeline.core.params import Split
from pipeline.dataset.contents import Ints
from pipeline.split.groups import Groups
from pipeline.split.leaks import Bools

PARTS = ("train", "valid", "test")
Labels = NDArray[np.str_]


def chance(seed: int, key: str) -> float:
    """Return a number in [0, 1) that depends on the seed and the key alone."""
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def draw_parts(groups: Groups, labels: Labels, was: Labels, params: Split) -> tuple[Labels, int]:
    """Return the part of each of n samples, and how many groups were moved for a class's sake.

    `was` (g,) is where each group stays, "" for a new one; where the method is official, test is
    the publisher's. A class that chance leaves out of a part gets a group there, a new one if
    there is one that can go.

    Raises PipelineError for a class of fewer groups than parts.
    """
    draw = _draws(groups, params)
    is_old = was != ""
    is_fixed = (was == "test") & (params.method == "official")
    test = 0.0 if params.method == "official" else params.test
    classes, label = np.unique(labels, return_inverse=True)
    place = draw if params.stratify == "expected" else _places(groups, label, draw, ~is_fixed)
    part = np.where(place < test, 2, np.where(place < test + params.valid, 1, 0))
    part[is_old] = [PARTS.index(name) for name in was[is_old].tolist()]
    wanted = [0] + [1] * (params.valid > 0) + [2] * (test > 0)
    pairs = np.unique(np.column_stack([label, groups.of]), axis=0)
    pairs = pairs[~is_fixed[pairs[:, 1]]]
    has = np.bincount(pairs[:, 0], minlength=classes.size)
    for name, found in zip(classes.tolist(), has.tolist(), strict=True):
        if found < len(wanted):
            parts = ", ".join(PARTS[number] for number in wanted)
            among = " of the official train part" if params.method == "official" else ""
            raise PipelineError(
                f"split: class {name} has {found} groups of pictures{among} and needs "
                f"{len(wanted)}, one each for {parts}; add pictures or set a share to 0"
            )
    order = pairs[np.lexsort((draw[pairs[:, 1]], is_old[pairs[:, 1]], pairs[:, 0]))]
    moved = _fill(part, order, wanted, classes.tolist())
    return np.array(PARTS)[part[groups.of]], moved


def _draws(groups: Groups, params: Split) -> NDArray[np.float64]:
    return np.array([chance(params.seed, key) for key in groups.keys])


def _places(
    groups: Groups, label: Ints, draw: NDArray[np.float64], is_free: Bools
) -> NDArray[np.float64]:
    """Return each group's place in [0, 1) among those of its class, in order of their draws.

    A group takes as much room as it has samples. Groups of several classes are a class of theirs.
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
    """Move a group of each class that lacks a part into it; returns how many.

    `pairs` are (class, group), of a class those first that had better go. A move never takes a
    class's last group from a part.
    """
    count = np.zeros((len(names), len(PARTS)), np.int64)
    np.add.at(count, (pairs[:, 0], part_of[pairs[:, 1]]), 1)
    classes_of: dict[int, list[int]] = {}
    moved = 0
    for part in sorted(wanted, reverse=True):
        for name in np.flatnonzero(count[:, part] == 0).tolist():
            if count[name, part]:
                continue  # another class's move has brought one
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
                    f"split: class {names[name]} cannot have a group in {PARTS[part]}: its groups "
                    "hold other classes that would lack a part; add pictures or loosen the groups"
                )
    return moved


def draw_folds(groups: Groups, labels: Labels, is_in: Bools, params: Split) -> Ints:
    """Return the fold of each of n samples that is in, -1 for the others; groups stay whole.

    Raises PipelineError for a class of fewer groups than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    count = params.folds or 0
    inside = np.flatnonzero(is_in)
    for name in np.unique(labels[inside]).tolist():
        found = np.unique(groups.of[inside[labels[inside] == name]]).size
        if found < count:
            raise PipelineError(f"split: class {name} has {found} groups for {count} folds")
    place = np.argsort(np.argsort(_draws(groups, params)))[groups.of]  # the rows' order is nothing
    inside = inside[np.argsort(place[inside], kind="stable")]
    fold = np.full(groups.of.size, -1)
    kfold = StratifiedGroupKFold(count)
    for number, (_, held) in enumerate(kfold.split(inside, labels[inside], place[inside])):
        fold[inside[held]] = number
    return fold
