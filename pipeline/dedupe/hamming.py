"""Find all pairs of 64-bit hashes within a Hamming distance of t bits, exactly, with numpy alone.

Algorithm: cut the bits into t + g blocks. Two hashes that differ in at most t bits differ in at
most t blocks, so they agree on at least g blocks (pigeonhole principle). For every choice of g
blocks, sort the hashes by these blocks. Those that agree on all g form a bucket and are compared.
Each pair within t shares a bucket at least once. It is reported only in the bucket of the first g
blocks on which it agrees, so it is found once. Source: Manku, Jain and Das Sarma, "Detecting
near-duplicates for web crawling", WWW 2007.

Speed: a permutation of the bits moves the chosen blocks to the top. Then a plain sort of the values
forms the buckets, the distance of two values stays the same, and the inverse permutation returns
the values of a pair.

Real hashes are not uniform. Bits that never vary are left out. A bucket of more than HUGE values is
searched again by the bits that its values do not share. Where blocks save nothing (few hashes,
tight clusters), every pair is compared.
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
Found = tuple[U64, U64]  # the left and the right value of each pair, (k,) and (k,)

CHUNK = 1 << 16  # values compared at a time: three buffers that stay in the core's cache
HUGE = 2048  # values; a larger bucket is searched again by its other bits
# Nanoseconds on one EPYC core: to permute and sort a value; to compare a pair.
SORT_NS, COMPARE_NS = 70.0, 0.8
SAMPLED = 4096  # random pairs that show how far the hashes are from uniform
PICKED = 8  # a comparison of picked values costs about this many comparisons of neighbours


class Plan(NamedTuple):
    """How a search cuts values into blocks."""

    within: int  # t, the largest distance in bits
    blocks: list[list[int]]  # t + g blocks: the numbers of the bits that vary
    chosen: int  # g, blocks that a bucket agrees on; 0: compare every pair


class Run(NamedTuple):
    """Adjacent bits that move together."""

    source: np.uint64  # lowest bit before the move
    target: np.uint64  # lowest bit after it
    mask: np.uint64  # as many set bits as move, from bit 0 on


class Layout(NamedTuple):
    """A permutation of the varying bits that moves g chosen blocks to the top."""

    runs: list[Run]
    below: np.uint64  # two permuted values agree on the chosen blocks if their XOR is less
    earlier: list[np.uint64]  # masks of the unchosen blocks before the last chosen one


def near_pairs(hashes: U64, within: int, *, threads: int | None = None) -> Pairs:
    """Return the positions of all pairs of `hashes` (n,) that differ in at most `within` bits.

    Equal hashes are pairs, too: n of them make n (n - 1) / 2. If that can be many, make the hashes
    unique and call `near_values` and `expand`. Raises ValueError if `within` is negative.
    """
    values, inverse = np.unique(hashes, return_inverse=True)
    found = near_values(values, within, threads=threads)
    return expand(found, inverse)


def near_values(values: U64, within: int, *, threads: int | None = None) -> Pairs:
    """Return the positions of all pairs of `values` (n,) that differ in at most `within` bits.

    The values must be strictly increasing. Holds in memory the values, one copy of them for each
    thread, and the pairs. `threads` is by default the number of processors, at most 4.

    Raises ValueError if `within` is negative, or if the values are not strictly increasing.
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
    """Return the `found` pairs of values as positions in strictly increasing `values` (n,).

    `found` has the pairs of several searches; no pair may be in two of them.
    """
    left, right = joined(found)
    a, b = np.searchsorted(values, left), np.searchsorted(values, right)
    a, b = np.minimum(a, b), np.maximum(a, b)
    order = np.lexsort((b, a))
    distance = np.bitwise_count(left ^ right).astype(np.int32)
    return Pairs(a[order], b[order], distance[order])


def expand(found: Pairs, inverse: NDArray[np.intp], most: int | None = None) -> Pairs:
    """Turn pairs of distinct values into pairs of the items that have these values.

    `found` are pairs of values, and `inverse` (n,) is the value of each of n items. Items with the
    same value form pairs at distance 0. If two values make more than `most` pairs of items, only
    some of these are returned: the first item of each value with all items of the other. So every
    item keeps a partner, and the number of pairs stays linear.
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
    """Return all pairs (i, j) from two ranges, for each of r rows, as columns (row, i, j).

    The ranges of a row start at `left` and `right` (r,) and are `left_counts` and `right_counts`
    (r,) long.
    """
    size = left_counts * right_counts
    row = np.repeat(np.arange(size.size), size)
    at = np.arange(row.size) - np.repeat(np.cumsum(size) - size, size)  # position in the product
    return row, left[row] + at // right_counts[row], right[row] + at % right_counts[row]


def _search(values: U64, within: int, threads: int = 1) -> Found:
    """Return all pairs of distinct `values` (n,) that differ in at most `within` bits."""
    if values.size < 2 or within == 0:
        return joined([])
    plan = plan_of(values, within)
    if not plan.chosen:
        return joined(_compare(values, values.size - 1, within))
    search = partial(search_by, values, plan)
    choices = combinations(range(len(plan.blocks)), plan.chosen)
    if threads == 1:
        return joined(map(search, choices))
    with ThreadPoolExecutor(threads) as pool:  # numpy sorts and compares outside the GIL
        return joined(pool.map(search, choices))


def plan_of(values: U64, within: int) -> Plan:
    """Return the cheapest plan for two or more distinct `values` (n,).

    The plan affects only the time: every plan finds the same pairs.
    """
    varying = int(np.bitwise_or.reduce(values) ^ np.bitwise_and.reduce(values))
    bits = [bit for bit in range(64) if varying >> bit & 1]
    chosen = _cheapest(values, within, bits)
    blocks = np.array_split(bits, within + chosen)
    return Plan(within, [block.tolist() for block in blocks], chosen)


def _cheapest(values: U64, within: int, bits: Sequence[int]) -> int:
    """Return the cheapest g, the number of blocks to choose at a time; 0: compare every pair.

    `bits` are the bits that vary. The cost of g is the time to sort the values once for each choice
    of blocks, plus the time to compare the pairs that meet in a bucket. A sample of random pairs
    shows how many meet; at least as many are assumed as for uniform hashes.
    """
    n = values.size
    every = n * n / 2 * COMPARE_NS
    # Blocks must halve the cost, or else the search of a huge bucket could repeat itself for ever.
    best, best_cost = 0, every / 2
    random = np.random.default_rng(n)
    i = random.integers(0, n, SAMPLED)
    j = (i + random.integers(1, n, SAMPLED)) % n
    xor = values[i] ^ values[j]
    for chosen in range(1, 5):
        count = within + chosen
        masks = math.comb(count, chosen)
        if count > len(bits) or masks > 2_000:
            break
        agreeing = np.zeros(SAMPLED, np.int64)  # blocks on which each sampled pair agrees
        for block in np.array_split(bits, count):
            agreeing += (xor & mask_of(block.tolist())) == 0
        meetings = np.array([math.comb(k, chosen) for k in range(count + 1)])[agreeing].mean()
        uniform = masks * 2.0 ** (-len(bits) * chosen / count)
        cost = masks * n * (SORT_NS + 2 * COMPARE_NS) + every * max(float(meetings), uniform)
        if cost < best_cost:
            best, best_cost = chosen, cost
    return best


def search_by(values: U64, plan: Plan, chosen: tuple[int, ...]) -> Found:
    """Return the pairs of distinct `values` (n,) whose first g agreeing blocks are `chosen`.

    `values` may be a subset of the plan's values, as long as it holds whole buckets.
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
    """Return the permutation of the bits of `blocks` that moves the `chosen` blocks to the top."""
    rest = [block for block in range(len(blocks)) if block not in chosen]
    order = [
        bit for block in (*reversed(chosen), *reversed(rest)) for bit in reversed(blocks[block])
    ]
    target = {bit: len(order) - 1 - at for at, bit in enumerate(order)}  # `order`: highest first
    below = sum(len(blocks[block]) for block in rest)
    runs: list[list[int]] = []  # adjacent bits that stay adjacent move together: fewer shifts
    for bit in sorted(order):
        if runs and bit == runs[-1][-1] + 1 and target[bit] == target[bit - 1] + 1:
            runs[-1].append(bit)
        else:
            runs.append([bit])
    return Layout(
        [
            Run(np.uint64(run[0]), np.uint64(target[run[0]]), mask_of(range(len(run))))
            for run in runs
        ],
        np.uint64(1 << below),
        [mask_of(target[bit] for bit in blocks[block]) for block in rest if block < chosen[-1]],
    )


def mask_of(bits: Iterable[int]) -> np.uint64:
    """Return the value in which exactly the given bits are set; bit 0 is the lowest."""
    return np.uint64(sum(1 << bit for bit in bits))


def _permuted(values: U64, runs: list[Run]) -> U64:
    """Return `values` (n,) with each run of bits moved to its target; other bits are 0."""
    moved = np.empty_like(values)
    for start in range(0, values.size, CHUNK):
        part = values[start : start + CHUNK]
        moved[start : start + CHUNK] = _or(
            [(part >> run.source & run.mask) << run.target for run in runs]
        )
    return moved


def _restored(moved: U64, runs: list[Run]) -> U64:
    """Return the values (n,) that `_permuted` has moved; bits in no run are 0."""
    return _or([(moved >> run.target & run.mask) << run.source for run in runs])


def _or(parts: list[U64]) -> U64:
    """Return the bitwise OR of equally long arrays; overwrites the first one."""
    for part in parts[1:]:
        parts[0] |= part
    return parts[0]


def _compare_buckets(moved: U64, sizes: Ints, within: int) -> Iterator[Found]:
    """Yield the near pairs within each bucket.

    `moved` (n,) are the sorted values, one bucket after another; `sizes` (k,) are the buckets'
    sizes. First compares every value with the next, then with the one after that, and so on, across
    the borders of buckets, because contiguous arrays are faster to compare than picked values. So
    it may also yield pairs across buckets. Once a step is longer than most buckets, only values
    from longer buckets are picked and compared.
    """
    if not moved.size:
        return
    at_least = np.bincount(sizes)[::-1].cumsum()[::-1]  # [size]: buckets of this size or more
    # [step + 1]: the number of values whose bucket also holds the value `step` places later
    partners = at_least[::-1].cumsum()[::-1]
    contiguous = int(np.count_nonzero(partners[2:] * PICKED > moved.size))  # steps
    yield from _compare(moved, contiguous, within)
    ends = np.repeat(np.cumsum(sizes), sizes)
    at = np.flatnonzero(np.arange(moved.size) + contiguous + 1 < ends)
    ends = ends[at]
    for step in range(contiguous + 1, sizes.max()):
        has_partner = at + step < ends
        at, ends = at[has_partner], ends[has_partner]
        left, right = moved[at], moved[at + step]
        near = np.bitwise_count(left ^ right) <= within
        yield left[near], right[near]


def _compare(values: U64, steps: int, within: int) -> Iterator[Found]:
    """Compare each value (n,) with the `steps` values after it; yield the near pairs."""
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
    """Return the pairs whose first agreeing blocks are the chosen ones.

    These pairs agree on all chosen blocks, and on no other block before the last chosen one.
    """
    left, right = found
    xor = left ^ right
    keep = xor < layout.below
    for block in layout.earlier:
        keep &= (xor & block) != 0
    return left[keep], right[keep]


def joined(found: Iterable[Found]) -> Found:
    """Return the pairs of several searches as one."""
    columns = list(found)
    if not columns:
        return np.empty(0, np.uint64), np.empty(0, np.uint64)
    left, right = zip(*columns, strict=True)
    return np.concatenate(left), np.concatenate(right)
