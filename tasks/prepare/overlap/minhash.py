"""Hashes of text pieces, for whole batches at once: MinHash signatures and word n-grams.

Texts are laid end to end as bytes. With H_i = sum_{j<i} b_j p^j (mod 2^64), the bytes i..j-1 have the hash
(H_j - H_i) p^-i, whatever lies before them; one cumulative sum gives every piece's hash. The same sum over word hashes
gives word n-grams. Hashes are then mixed, since the low bits of such sums are weak.

MinHash: signature component k is the minimum of a_k h + c_k (mod 2^64) over a text's shingles h (its distinct
5-byte pieces); two texts agree in a component with the probability of their Jaccard similarity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tasks.prepare.sources.normalize import OPERATORS

SHINGLE = 5
PERMUTATIONS = 64
_BYTE_PRIME = 0x9E3779B97F4A7C15 | 1
_WORD_PRIME = 0xC2B2AE3D27D4EB4F | 1
_IS_OPERATOR = np.isin(np.arange(256), np.frombuffer(OPERATORS.encode(), dtype=np.uint8))
_IS_DIGIT = np.isin(np.arange(256), np.arange(ord("0"), ord("9") + 1))
_CHUNK = 256

Hashes = NDArray[np.uint64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class WordNgrams:
    """The n-grams of a batch's words, operators skipped.

    Attributes:
        hashes: 64-bit hash of each n-gram, shape (grams,).
        row: row of the batch each n-gram is in.
        words: how many of its words are letters (two or more, or CJK), not numbers.
        first: which word of its row it begins with, operators not counted.
    """

    hashes: Hashes
    row: Integers
    words: Integers
    first: Integers


def minhash_signatures(texts: Sequence[str]) -> Hashes:
    """Returns MinHash signatures, shape (texts, 64)."""
    signatures = np.empty((len(texts), PERMUTATIONS), dtype=np.uint64)
    for start in range(0, len(texts), _CHUNK):  # chunks that stay in the processor's cache
        chunk = texts[start : start + _CHUNK]
        shingles, starts = _shingles(chunk)
        work = np.empty_like(shingles)
        for number, (factor, shift) in enumerate(_permutations()):
            np.multiply(shingles, factor, out=work)
            np.add(work, shift, out=work)
            signatures[start : start + len(chunk), number] = np.minimum.reduceat(work, starts)
    return signatures


def lsh_bands(signatures: Hashes, rows_per_band: int) -> Hashes:
    """Hashes each run of `rows_per_band` components; equal bands make two texts candidates. Shape (texts, bands)."""
    count = PERMUTATIONS // rows_per_band
    grouped = signatures[:, : count * rows_per_band].reshape(len(signatures), count, rows_per_band)
    bands = np.zeros((len(signatures), count), dtype=np.uint64)
    for component in range(rows_per_band):
        bands = _mix(bands * np.uint64(_WORD_PRIME) + grouped[:, :, component])
    return bands


def rows_per_band(similarity: float, miss: float = 1e-3) -> int:
    """The longest bands that still miss a pair of this similarity with at most the given probability.

    A band of r components agrees with probability s^r, so all floor(64/r) bands miss with (1 - s^r)^floor(64/r).
    """
    lengths = range(1, PERMUTATIONS + 1)
    return max((r for r in lengths if (1.0 - similarity**r) ** (PERMUTATIONS // r) <= miss), default=1)


def shingle_set(text: str) -> frozenset[bytes]:
    """The distinct 5-byte pieces of a text, for exact similarities."""
    data = text.encode().ljust(SHINGLE)
    return frozenset(data[i : i + SHINGLE] for i in range(len(data) - SHINGLE + 1))


def similarity(first: frozenset[bytes], second: frozenset[bytes]) -> float:
    """Jaccard similarity |A and B| / |A or B|."""
    common = len(first & second)
    return common / (len(first) + len(second) - common)


def word_ngrams(texts: Sequence[str], n: int) -> WordNgrams:
    """Hashes the word n-grams of normalized texts (tokens joined by single spaces)."""
    data, offsets = _concatenate([text + " " for text in texts])
    prefix = _prefix_hashes(data, _BYTE_PRIME)
    ends = np.flatnonzero(data == ord(" "))
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    is_word = (ends > starts) & ~_IS_OPERATOR[data[np.minimum(starts, max(len(data) - 1, 0))]]
    starts, ends = starts[is_word], ends[is_word]
    words = _mix((prefix[ends] - prefix[starts]) * _powers(_BYTE_PRIME, True, len(prefix))[starts])
    row = np.searchsorted(offsets, starts, side="right") - 1
    letters = np.cumsum(np.concatenate([[0], ~_IS_DIGIT[data[starts]] & (ends - starts > 1)]))
    count = max(len(words) - n + 1, 0)
    begin = np.flatnonzero(row[:count] == row[n - 1 :][:count]) if count else np.empty(0, dtype=np.int64)
    sums = _prefix_sums(words, _WORD_PRIME)
    hashes = _mix((sums[begin + n] - sums[begin]) * _powers(_WORD_PRIME, True, len(sums))[begin])
    first = begin - np.searchsorted(row, row[begin], side="left")
    return WordNgrams(hashes, row[begin], letters[begin + n] - letters[begin], first)


def _shingles(texts: Sequence[str]) -> tuple[Hashes, Integers]:
    """Hashes of all shingles of some texts, and where each text's begin; no text is without one."""
    data, offsets = _concatenate([text if len(text) >= SHINGLE else text.ljust(SHINGLE) for text in texts])
    prefix = _prefix_hashes(data, _BYTE_PRIME)
    lengths = np.diff(offsets) - SHINGLE + 1
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    begin = np.arange(lengths.sum()) + np.repeat(offsets[:-1] - starts, lengths)
    return _mix((prefix[begin + SHINGLE] - prefix[begin]) * _powers(_BYTE_PRIME, True, len(prefix))[begin]), starts


def _concatenate(texts: Sequence[str]) -> tuple[NDArray[np.uint8], Integers]:
    """All bytes end to end, and the offsets of the texts with the total last."""
    encoded = [text.encode() for text in texts]
    offsets = np.concatenate([[0], np.cumsum([len(text) for text in encoded])]).astype(np.int64)
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets


def _prefix_hashes(data: NDArray[np.uint8], prime: int) -> Hashes:
    return _prefix_sums(data.astype(np.uint64) + np.uint64(1), prime)


def _prefix_sums(values: Hashes, prime: int) -> Hashes:
    sums = np.zeros(len(values) + 1, dtype=np.uint64)
    np.cumsum(values * _powers(prime, False, len(values) + 1)[: len(values)], out=sums[1:])
    return sums


def _powers(prime: int, inverse: bool, count: int) -> Hashes:
    """Powers 0.. of the prime, or of its inverse, modulo 2^64."""
    return _power_table(prime, inverse, 1 << max(count - 1, 1).bit_length())


@cache
def _power_table(prime: int, inverse: bool, count: int) -> Hashes:
    factors = np.full(count, pow(prime, -1, 2**64) if inverse else prime, dtype=np.uint64)
    factors[0] = 1
    return np.cumprod(factors, dtype=np.uint64)


@cache
def _permutations() -> tuple[tuple[np.uint64, np.uint64], ...]:
    draws = np.random.default_rng(20250925).integers(0, 2**64, size=(PERMUTATIONS, 2), dtype=np.uint64)
    return tuple((factor | np.uint64(1), shift) for factor, shift in draws)


def _mix(values: Hashes) -> Hashes:
    """The finalizer of splitmix64: spreads every input bit over all output bits."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
