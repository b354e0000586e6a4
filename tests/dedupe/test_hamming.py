"""The pair search is exact: it finds what comparing every pair finds, for any distribution."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.dataset.pairs_table import Pairs
from pipeline.dedupe import hamming
from pipeline.dedupe.hamming import U64, expand, near_pairs, near_values
from tests.hashes import all_equal, clustered, constant_bits, lopsided_bits, one_bit_apart, uniform

ALL = np.uint64(2**64 - 1)


def brute(hashes: U64, within: int) -> NDArray[np.int64]:
    """Return rows of (a, b, distance) by comparing every pair."""
    rows = [np.empty((0, 3), np.int64)]
    for a in range(hashes.size):
        distance = np.bitwise_count(hashes[a + 1 :] ^ hashes[a]).astype(np.int64)
        near = np.flatnonzero(distance <= within)
        rows.append(np.column_stack([np.full(near.size, a), a + 1 + near, distance[near]]))
    return np.concatenate(rows)


def rows_of(found: Pairs) -> NDArray[np.int64]:
    return np.column_stack([found.a, found.b, found.distance.astype(np.int64)])


SPREADS = [uniform, all_equal, one_bit_apart, clustered, constant_bits, lopsided_bits]


@pytest.mark.parametrize("spread", SPREADS)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(0, 200),
    within=st.integers(0, 8),
    blocks=st.integers(0, 2),
    huge=st.sampled_from([7, 30, 2048]),
)
@settings(max_examples=25, deadline=None)
def test_equals_brute_force_whatever_the_plan(
    spread: object, seed: int, n: int, within: int, blocks: int, huge: int
) -> None:
    """Every number of chosen blocks and every bucket bound gives the same pairs."""
    assert callable(spread)
    hashes = spread(np.random.default_rng(seed), n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hamming, "HUGE", huge)
        patch.setattr(hamming, "CHUNK", 64)

        def plan(values: U64, within: int, bits: list[int]) -> int:
            return blocks if values.size > 20 and within + blocks <= len(bits) else 0

        patch.setattr(hamming, "_cheapest", plan)
        found = rows_of(near_pairs(hashes, within, threads=1))
    assert np.array_equal(found, brute(hashes, within))


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("within", [4, 6, 12])
def test_equals_brute_force_by_its_own_plan(spread: object, within: int) -> None:
    assert callable(spread)
    hashes = spread(np.random.default_rng(within), 3000)
    assert np.array_equal(rows_of(near_pairs(hashes, within)), brute(hashes, within))


@given(st.lists(st.integers(0, 2**64 - 1), max_size=40), st.integers(0, 64))
def test_any_hashes_at_any_distance(values: list[int], within: int) -> None:
    hashes = np.array(values, dtype=np.uint64)
    assert np.array_equal(rows_of(near_pairs(hashes, within)), brute(hashes, within))


def test_the_ends_of_the_range_are_64_apart() -> None:
    hashes = np.array([0, ALL], dtype=np.uint64)
    assert near_values(hashes, 63).a.size == 0
    assert rows_of(near_values(hashes, 64)).tolist() == [[0, 1, 64]]


def test_values_must_be_distinct_and_sorted() -> None:
    with pytest.raises(ValueError, match="strictly increasing"):
        near_values(np.array([1, 1], dtype=np.uint64), 2)
    with pytest.raises(ValueError, match="0 or more"):
        near_values(np.array([1, 2], dtype=np.uint64), -1)


def test_many_items_of_two_hashes_become_stars_in_which_each_has_a_partner() -> None:
    hashes = np.repeat(np.array([0, 1], dtype=np.uint64), 100)
    values, inverse = np.unique(hashes, return_inverse=True)
    found = expand(near_values(values, 2), inverse, most=500)
    assert found.a.size < 500
    assert set(found.a.tolist()) | set(found.b.tolist()) == set(range(200))
    assert ((found.a < 100) & (found.b >= 100)).any(), "the two hashes are still linked"
    everything = expand(near_values(values, 2), inverse)
    assert everything.a.size == 200 * 199 // 2
    rows, all_rows = rows_of(found).tolist(), rows_of(everything).tolist()
    assert {tuple(row) for row in rows} <= {tuple(row) for row in all_rows}
    assert len({tuple(row) for row in rows}) == len(rows)


@pytest.mark.parametrize(
    ("spread", "n"), [(uniform, 100_000), (clustered, 100_000), (lopsided_bits, 30_000)]
)
def test_many_hashes_are_quick(spread: object, n: int) -> None:
    assert callable(spread)
    values = np.unique(spread(np.random.default_rng(1), n))
    started = time.process_time()
    found = near_values(values, 6)
    assert time.process_time() - started < 30, "comparing every pair alone takes longer in a loop"
    if spread is not uniform:
        assert found.a.size > 1000
