"""64-bit hashes for tests, spread in the ways that are hard for a pair search."""

from __future__ import annotations

import numpy as np

from pipeline.dedupe.hamming import U64


def uniform(random: np.random.Generator, n: int) -> U64:
    return random.integers(0, 2**64, n, dtype=np.uint64)


def all_equal(random: np.random.Generator, n: int) -> U64:
    return np.full(min(n, 60), random.integers(0, 2**64, dtype=np.uint64))


def one_bit_apart(random: np.random.Generator, n: int) -> U64:
    """A path on which neighbours differ in one bit: it chains far beyond any threshold."""
    steps = np.uint64(1) << random.integers(0, 64, n).astype(np.uint64)
    return np.bitwise_xor.accumulate(steps)


def clustered(random: np.random.Generator, n: int) -> U64:
    """Pictures and their near copies, half the bits set, as perceptual hashes are."""
    centres = uniform(random, max(1, n // 8))
    hashes = centres[random.integers(0, centres.size, n)]
    for _ in range(4):
        flip = np.uint64(1) << random.integers(0, 64, n).astype(np.uint64)
        hashes = np.where(random.random(n) < 0.6, hashes ^ flip, hashes)
    return hashes


def constant_bits(random: np.random.Generator, n: int) -> U64:
    return uniform(random, n) & np.uint64(0x00FF_0000_0F0F_00FF) | np.uint64(0x8000_0000_0000_0000)


def lopsided_bits(random: np.random.Generator, n: int) -> U64:
    """Half the bits are set in 4% of the hashes: their blocks are mostly zero, buckets huge."""
    hashes = uniform(random, n) & np.uint64(0xFFFF_FFFF)
    for bit in range(32, 64):
        hashes |= (random.random(n) < 0.04).astype(np.uint64) << np.uint64(bit)
    return hashes
