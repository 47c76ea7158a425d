"""Duplicate training problems: equal normalized texts, and near-duplicates found by banded MinHash, then checked.

Of each pair the earlier row stays. Texts that are similar but have other numbers *and* another answer are different
problems printed from one template, and both stay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.prepare.overlap.minhash import Hashes, shingle_set, similarity
from tasks.prepare.sources.normalize import numbers

MAX_PREDECESSORS = 16
_CHUNK = 2000


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A row that repeats an earlier one.

    Attributes:
        row: the later row.
        of: the earlier row, which stays.
        similarity: Jaccard similarity of the normalized texts, 1.0 for equal ones.
    """

    row: int
    of: int
    similarity: float


def equal_texts(keys: Hashes) -> list[Duplicate]:
    """Finds rows whose text hash occurred before. Shape of `keys`: (rows,)."""
    _, first, member = np.unique(keys, return_index=True, return_inverse=True)
    earliest = first[member]
    later = np.flatnonzero(earliest != np.arange(len(keys)))
    return [Duplicate(row, of, 1.0) for row, of in zip(later.tolist(), earliest[later].tolist(), strict=True)]


def near_duplicates(
    banded: Hashes, texts_of: Callable[[Sequence[int]], tuple[list[str], list[str]]], threshold: float
) -> list[Duplicate]:
    """Finds near-duplicates.

    Args:
        banded: band hashes, shape (rows, bands).
        texts_of: returns the (normalized texts, ground truths) of some rows; called for candidates only.
        threshold: Jaccard similarity from which two texts are near-duplicates.

    Returns:
        Duplicates by ascending row; none is a duplicate of a row that is a duplicate itself.
    """
    pairs = _candidates(banded)
    removed: set[int] = set()
    duplicates = []
    for start in range(0, len(pairs), _CHUNK):
        chunk = pairs[start : start + _CHUNK]
        rows = sorted({row for pair in chunk for row in pair})
        texts, answers = texts_of(rows)
        features = {
            row: (shingle_set(t), numbers(t), a.strip()) for row, t, a in zip(rows, texts, answers, strict=True)
        }
        for later, earlier in chunk:
            if later in removed or earlier in removed:
                continue
            (shingles, digits, answer), (other, other_digits, other_answer) = features[later], features[earlier]
            if digits != other_digits and answer != other_answer:
                continue
            if (score := similarity(shingles, other)) >= threshold:
                removed.add(later)
                duplicates.append(Duplicate(later, earlier, score))
    return duplicates


def _candidates(banded: Hashes) -> list[tuple[int, int]]:
    """Pairs (later row, earlier row) that share a band, each row with at most 16 nearest predecessors of a band."""
    pairs: list[NDArray[np.int64]] = []
    for band in range(banded.shape[1]):
        order = np.argsort(banded[:, band], kind="stable")
        values = banded[order, band]
        for distance in range(1, MAX_PREDECESSORS + 1):
            same = np.flatnonzero(values[distance:] == values[:-distance])
            if not len(same):
                break
            pairs.append(np.stack([order[same + distance], order[same]], axis=1))
    if not pairs:
        return []
    unique = np.unique(np.concatenate(pairs), axis=0)
    return [(later, earlier) for later, earlier in unique.tolist()]
