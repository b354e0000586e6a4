"""All pairs of 64-bit hashes within a Hamming distance, exactly, with numpy alone.

Two hashes within t that are cut into t + g blocks agree on at least g of them (pigeonhole), so
sorting the hashes by every choice of g blocks brings each pair together at least once. Source of
the idea: Manku, Jain and Das Sarma, "Detecting near-duplicates for web crawling", WWW 2007.

What makes it quick here: the chosen blocks are moved to the top by a permutation of the bits, so
that a plain sort of the values does it, distances stay what they are, and the values themselves
say which pair was found. What keeps it exact on real hashes, which are not uniform: bits that
never vary are left out, huge buckets are searched again by the bits that they do not share, and
where blocks would not help (few hashes, tight clusters) every pair is compared.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.pairs_table import Pairs

U64 = NDArray[np.uint64]
Ints = NDArray[np.intp]
Found = tuple[U64, U64]  # two equally long columns of values, a pair a row

CHUNK = 1 << 16  # values compared at a time: three buffers that stay in the core's cache
HUGE = 2048  # a larger bucket is searched again by its other bits
SORT_NS, COMPARE_NS = 70.0, 0.8  # a value permuted and sorted; a pair compared (EPYC, one core)
SAMPLED = 4096  # pairs looked at to see how far hashes are from uniform
PICKED = 8  # comparing picked values costs about this many times comparing neighbours in a row


class Plan(NamedTuple):
    """How a search cuts values: blocks of the bits that vary, and how many it chooses at a time."""

    within: int
    blocks: list[list[int]]
    chosen: int  # 0: every pair is compared


class Run(NamedTuple):
    """`mask` bits, standing at bit `source`, that move to bit `target`."""

    source: np.uint64
    target: np.uint64
    mask: np.uint64


class Layout(NamedTuple):
    """An order of the varying bits with g chosen blocks on top."""

    runs: list[Run]
    below: np.uint64  # what XOR stays under when two values agree on the chosen blocks
    earlier: list[np.uint64]  # blocks that stand before the last chosen one and are not chosen


def near_pairs(hashes: U64, within: int, *, threads: int | None = None) -> Pairs:
    """Return every pair of `hashes` (n,) within `within` bits, equal hashes included.

    The answer is as long as there are pairs: n equal hashes have n (n - 1) / 2. Where that could
    be many, collapse equal ones and call `near_values`.
    """
    values, inverse = np.unique(hashes, return_inverse=True)
    found = near_values(values, within, threads=threads)
    return expand(found, inverse)


def near_values(values: U64, within: int, *, threads: int | None = None) -> Pairs:
    """Return every pair within `within` bits among strictly increasing `values` (n,).

    Memory is the values, one copy of them a thread, and the pairs.
    """
    if within < 0:
        raise ValueError(f"within is {within}, expected 0 or more")
    if values.size > 1 and not np.all(values[1:] > values[:-1]):
        raise ValueError("values are not strictly increasing")
    left, right = _search(
        values.astype(np.uint64, copy=False), within, threads or min(4, os.cpu_count() or 1)
    )
    return placed(values, [(left, right)])


def placed(values: U64, found: Iterable[Found]) -> Pairs:
    """Return pairs of strictly increasing `values` (n,), each found once, by position."""
    left, right = joined(found)
    a, b = np.searchsorted(values, left), np.searchsorted(values, right)
    a, b = np.minimum(a, b), np.maximum(a, b)
    order = np.lexsort((b, a))
    distance = np.bitwise_count(left ^ right).astype(np.int32)
    return Pairs(a[order], b[order], distance[order])


def expand(found: Pairs, inverse: NDArray[np.intp], most: int | None = None) -> Pairs:
    """Turn pairs of values into pairs of the items that hold them; `inverse` (n,) says which.

    Items that share a value are pairs at distance 0. Where two values make more than `most` pairs
    of items, they are written as stars, from the first item of each to all of the other, so that
    every item still has a partner.
    """
    counts = np.bincount(inverse, minlength=1)
    items = np.argsort(inverse, kind="stable")
    starts = np.cumsum(counts) - counts
    shared = np.flatnonzero(counts > 1)
    u, v = np.concatenate([shared, found.a]), np.concatenate([shared, found.b])
    distance = np.concatenate([np.zeros(shared.size, np.int32), found.distance])
    is_star = np.zeros(u.size, bool) if most is None else counts[u] * counts[v] > most
    first_only = np.minimum(counts, 1)
    tables = []
    for left, right, rows, left_counts in (
        (u, v, ~is_star, counts),
        (u, v, is_star, first_only),
        (v, u, is_star, first_only),
    ):
        x, y = left[rows], right[rows]
        row, i, j = _products(starts[x], left_counts[x], starts[y], counts[y])
        tables.append((items[i], items[j], distance[rows][row]))
    one, other, d = (np.concatenate(column) for column in zip(*tables, strict=True))
    a, b = np.minimum(one, other), np.maximum(one, other)
    order = np.lexsort((b, a))
    a, b, d = a[order], b[order], d[order]
    fresh = a != b
    fresh[1:] &= (a[1:] != a[:-1]) | (b[1:] != b[:-1])
    return Pairs(a, b, d).where(fresh)


def _products(left: Ints, left_counts: Ints, right: Ints, right_counts: Ints) -> tuple[Ints, ...]:
    """Return (row, i, j): for each row every i from `left` on beside every j from `right` on."""
    size = left_counts * right_counts
    row = np.repeat(np.arange(size.size), size)
    place = np.arange(row.size) - np.repeat(np.cumsum(size) - size, size)
    return row, left[row] + place // right_counts[row], right[row] + place % right_counts[row]


def _search(values: U64, within: int, threads: int = 1) -> Found:
    """Return the pairs of distinct `values` within `within` bits, each once."""
    if values.size < 2 or within == 0:
        return joined([])
    plan = plan_of(values, within)
    if not plan.chosen:
        return joined(_compare(values, values.size - 1, within))
    one = partial(search_by, values, plan)
    choices = combinations(range(len(plan.blocks)), plan.chosen)
    if threads == 1:
        return joined(map(one, choices))
    with ThreadPoolExecutor(threads) as pool:  # numpy sorts and compares outside the GIL
        return joined(pool.map(one, choices))


def plan_of(values: U64, within: int) -> Plan:
    """Return the cheapest plan for two distinct `values` or more; any finds the same pairs."""
    varying = int(np.bitwise_or.reduce(values) ^ np.bitwise_and.reduce(values))
    bits = [bit for bit in range(64) if varying >> bit & 1]
    chosen = _cheapest(values, within, bits)
    blocks = np.array_split(bits, within + chosen)
    return Plan(within, [block.tolist() for block in blocks], chosen)


def _cheapest(values: U64, within: int, bits: Sequence[int]) -> int:
    """Return how many blocks to choose at a time; 0: compare every pair."""
    n = values.size
    every = n * n / 2 * COMPARE_NS
    best, best_cost = 0, every / 2  # well worth it, or searches of huge buckets would nest for ever
    random = np.random.default_rng(n)
    i = random.integers(0, n, SAMPLED)
    j = (i + random.integers(1, n, SAMPLED)) % n
    xor = values[i] ^ values[j]
    for chosen in range(1, 5):
        count = within + chosen
        masks = math.comb(count, chosen)
        if count > len(bits) or masks > 2_000:
            break
        agreeing = np.zeros(SAMPLED, np.int64)  # blocks of a sampled pair
        for block in np.array_split(bits, count):
            agreeing += (xor & mask_of(block.tolist())) == 0
        meetings = np.array([math.comb(k, chosen) for k in range(count + 1)])[agreeing].mean()
        uniform = masks * 2.0 ** (-len(bits) * chosen / count)
        cost = masks * n * (SORT_NS + 2 * COMPARE_NS) + every * max(float(meetings), uniform)
        if cost < best_cost:
            best, best_cost = chosen, cost
    return best


def search_by(values: U64, plan: Plan, chosen: tuple[int, ...]) -> Found:
    """Return the pairs of distinct `values` whose first agreeing blocks are the `chosen` ones.

    `values` may be a part of the plan's, if all that agree on the chosen blocks are in it.
    """
    within, blocks = plan.within, plan.blocks
    layout = _layout(blocks, chosen)
    moved = _permuted(values, layout.runs)
    moved.sort()
    edges = np.flatnonzero((moved[1:] ^ moved[:-1]) >= layout.below) + 1
    starts = np.concatenate([[0], edges])
    sizes = np.diff(starts, append=moved.size)
    found = []
    is_huge = sizes > HUGE
    if is_huge.any():
        for start, size in zip(starts[is_huge], sizes[is_huge], strict=True):
            found.append(_search(moved[start : start + size], within))
        moved, sizes = moved[np.repeat(~is_huge, sizes)], sizes[~is_huge]
    found.extend(_compare_buckets(moved, sizes, within))
    left, right = joined(_first_met(pair, layout) for pair in found)
    constant = values[0] & ~mask_of(bit for block in blocks for bit in block)
    return _restored(left, layout.runs) | constant, _restored(right, layout.runs) | constant


def _layout(blocks: list[list[int]], chosen: tuple[int, ...]) -> Layout:
    rest = [block for block in range(len(blocks)) if block not in chosen]
    order = [
        bit for block in (*reversed(chosen), *reversed(rest)) for bit in reversed(blocks[block])
    ]
    target = {bit: len(order) - 1 - place for place, bit in enumerate(order)}
    below = sum(len(blocks[block]) for block in rest)
    runs: list[list[int]] = []  # bits that stay beside each other move together
    for bit in sorted(order):
        if runs and bit == runs[-1][-1] + 1 and target[bit] == target[bit - 1] + 1:
            runs[-1].append(bit)
        else:
            runs.append([bit])
    moves = [(run[0], target[run[0]], mask_of(range(len(run)))) for run in runs]
    return Layout(
        [Run(np.uint64(source), np.uint64(aim), mask) for source, aim, mask in moves],
        np.uint64(1 << below),
        [mask_of(target[bit] for bit in blocks[block]) for block in rest if block < chosen[-1]],
    )


def mask_of(bits: Iterable[int]) -> np.uint64:
    """Return a value in which the given bits are set."""
    return np.uint64(sum(1 << bit for bit in bits))


def _permuted(values: U64, runs: list[Run]) -> U64:
    """Return `values` with each run of bits at its target."""
    moved = np.empty_like(values)
    for start in range(0, values.size, CHUNK):
        part = values[start : start + CHUNK]
        moved[start : start + CHUNK] = _or(
            [(part >> run.source & run.mask) << run.target for run in runs]
        )
    return moved


def _restored(moved: U64, runs: list[Run]) -> U64:
    """Undo `_permuted`; bits in no run come back as 0."""
    return _or([(moved >> run.target & run.mask) << run.source for run in runs])


def _or(parts: list[U64]) -> U64:
    for part in parts[1:]:
        parts[0] |= part
    return parts[0]


def _compare_buckets(moved: U64, sizes: Ints, within: int) -> Iterator[Found]:
    """Compare all values of the same bucket; buckets of `sizes` follow each other in `moved`.

    Neighbours at a small step are compared in a row, whatever their bucket, since that costs less
    than picking; from the step that most buckets do not reach, only the others' values.
    """
    if not moved.size:
        return
    reaching = np.bincount(sizes)[::-1].cumsum()[::-1]  # buckets of at least this size
    pairs_at = reaching[::-1].cumsum()[::-1]  # [step]: values whose bucket still holds a step on
    in_row = int(np.count_nonzero(pairs_at[2:] * PICKED > moved.size))
    yield from _compare(moved, in_row, within)
    ends = np.repeat(np.cumsum(sizes), sizes)
    at = np.flatnonzero(np.arange(moved.size) + in_row + 1 < ends)
    ends = ends[at]
    for step in range(in_row + 1, sizes.max()):
        going_on = at + step < ends
        at, ends = at[going_on], ends[going_on]
        left, right = moved[at], moved[at + step]
        near = np.bitwise_count(left ^ right) <= within
        yield left[near], right[near]


def _compare(values: U64, steps: int, within: int) -> Iterator[Found]:
    """Compare each value with the `steps` after it."""
    xor = np.empty(CHUNK, np.uint64)
    count = np.empty(CHUNK, np.uint8)
    near = np.empty(CHUNK, bool)
    for start in range(0, values.size, CHUNK):
        for step in range(1, min(steps, values.size - start - 1) + 1):
            right = values[start + step : start + step + CHUNK]
            n = right.size
            np.bitwise_xor(values[start : start + n], right, out=xor[:n])
            np.bitwise_count(xor[:n], out=count[:n])
            np.less_equal(count[:n], within, out=near[:n])
            hits = np.flatnonzero(near[:n])
            if hits.size:
                yield values[start + hits], right[hits]


def _first_met(found: Found, layout: Layout) -> Found:
    """Keep the pairs that agree on the chosen blocks and on none before the last of them."""
    left, right = found
    xor = left ^ right
    keep = xor < layout.below
    for block in layout.earlier:
        keep &= (xor & block) != 0
    return left[keep], right[keep]


def joined(found: Iterable[Found]) -> Found:
    """Return what several searches found as one."""
    columns = list(found)
    if not columns:
        return np.empty(0, np.uint64), np.empty(0, np.uint64)
    left, right = zip(*columns, strict=True)
    return np.concatenate(left), np.concatenate(right)
