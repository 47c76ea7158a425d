"""Overlap of training problems with evaluation problems: equal text, near-duplicates, shared word n-grams.

An n-gram counts when at least five of its words are words (not numbers or single letters of a formula) and it is no
boilerplate: "where m and n are relatively prime positive integers find m + n" is in hundreds of problems. Boilerplate
is what three evaluation problems share, or what three training problems share of which this one is less than half
similar to the evaluation problem (so that several copies of one benchmark problem do not hide each other). The
near-duplicate rule ignores numbers: a benchmark problem with other numbers is removed as well.

Not covered: translations and free rewordings.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.prepare.overlap.minhash import (
    Hashes,
    lsh_bands,
    minhash_signatures,
    rows_per_band,
    shingle_set,
    similarity,
    word_ngrams,
)
from tasks.prepare.sources.normalize import OPERATORS

FEWEST_WORDS = 5
MOST_EVALUATION = 2
MOST_TRAINING = 2
LIKELY = 0.5


@dataclass(frozen=True, slots=True)
class EvaluationEntry:
    """An evaluation problem: its set, its id there and its normalised text."""

    set: str
    problem_id: str
    normalized: str


@dataclass(frozen=True, slots=True)
class Overlap:
    """A training problem found in an evaluation set.

    Attributes:
        kind: `exact`, `near` or `ngram`.
        entry: the evaluation problem.
        similarity: Jaccard similarity of the normalised texts.
        evidence: the words they share, for an n-gram.
        gram: hash of the shared n-gram; 0 for the other kinds.
    """

    kind: str
    entry: EvaluationEntry
    similarity: float
    evidence: str = ""
    gram: int = 0


class EvaluationIndex:
    """All evaluation problems, ready to be looked up."""

    def __init__(self, entries: Sequence[EvaluationEntry], threshold: float, n: int) -> None:
        """Indexes evaluation problems.

        Args:
            entries: the problems.
            threshold: near-duplicates from this Jaccard similarity; 1 switches them off.
            n: words of an n-gram; 0 switches them off.
        """
        self.entries = entries
        self.threshold = threshold
        self.n = n
        self._exact: dict[str, EvaluationEntry] = {}
        for entry in entries:
            self._exact.setdefault(entry.normalized, entry)
        self._width = rows_per_band(threshold) if threshold < 1.0 else 0
        self._bands: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        self._gram_hashes, self._gram_rows = self._distinctive_grams()
        if entries:
            self._index_bands()
        self._band_hashes = np.asarray([key for _, key in self._bands], dtype=np.uint64)

    def find(self, texts: Sequence[str], signature: Hashes | None = None) -> list[list[Overlap]]:
        """Looks up training problems.

        Args:
            texts: normalised texts.
            signature: their MinHash signatures, if at hand.

        Returns:
            The overlaps of each text, the strongest first; an n-gram hit may turn out to be boilerplate, see
            `without_boilerplate`.
        """
        found: list[list[Overlap]] = [
            [Overlap("exact", self._exact[text], 1.0)] if text in self._exact else [] for text in texts
        ]
        if self._width:
            self._find_near(texts, minhash_signatures(texts) if signature is None else signature, found)
        self._find_grams(texts, found)
        return found

    def _index_bands(self) -> None:
        if self._width:
            for row, values in enumerate(lsh_bands(self._signatures(), self._width).tolist()):
                for key in enumerate(values):
                    self._bands[key].append(row)

    def _signatures(self) -> Hashes:
        return minhash_signatures([entry.normalized for entry in self.entries])

    def _distinctive_grams(self) -> tuple[Hashes, NDArray[np.int64]]:
        """Hashes of the n-grams that are no boilerplate, ascending, and the evaluation problem each stands in."""
        if not self.n or not self.entries:
            return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
        grams = word_ngrams([entry.normalized for entry in self.entries], self.n)
        kept = grams.words >= min(FEWEST_WORDS, self.n)
        hashes, rows = grams.hashes[kept], grams.row[kept]
        order = np.lexsort((rows, hashes))
        hashes, rows = hashes[order], rows[order]
        first = np.ones(len(hashes), dtype=bool)
        first[1:] = (hashes[1:] != hashes[:-1]) | (rows[1:] != rows[:-1])
        distinct, start, spread = np.unique(hashes[first], return_index=True, return_counts=True)
        rare = spread <= MOST_EVALUATION
        return distinct[rare], rows[first][start][rare]

    def _find_near(self, texts: Sequence[str], signature: Hashes, found: list[list[Overlap]]) -> None:
        banded = lsh_bands(signature, self._width)
        candidates: dict[int, set[int]] = defaultdict(set)
        for row, band in np.argwhere(np.isin(banded, self._band_hashes)).tolist():
            candidates[row].update(self._bands.get((band, int(banded[row, band])), ()))
        for row, others in candidates.items():
            own = shingle_set(texts[row])
            scored = [(similarity(own, shingle_set(self.entries[other].normalized)), other) for other in sorted(others)]
            best, other = max(scored, key=lambda pair: pair[0], default=(0.0, 0))
            if best >= self.threshold and not found[row]:
                found[row].append(Overlap("near", self.entries[other], best))

    def _find_grams(self, texts: Sequence[str], found: list[list[Overlap]]) -> None:
        if not len(self._gram_hashes):
            return
        grams = word_ngrams(texts, self.n)
        hits = np.flatnonzero(np.isin(grams.hashes, self._gram_hashes) & (grams.words >= min(FEWEST_WORDS, self.n)))
        scores: dict[tuple[int, int], float] = {}
        for hit in hits.tolist():
            gram, row, first = int(grams.hashes[hit]), int(grams.row[hit]), int(grams.first[hit])
            other = int(self._gram_rows[np.searchsorted(self._gram_hashes, grams.hashes[hit])])
            if (row, other) not in scores:
                scores[row, other] = similarity(shingle_set(texts[row]), shingle_set(self.entries[other].normalized))
            words = [word for word in texts[row].split(" ") if word not in OPERATORS]
            evidence = " ".join(words[first : first + self.n])
            found[row].append(Overlap("ngram", self.entries[other], scores[row, other], evidence, gram))


def without_boilerplate(found: Iterable[tuple[int, list[Overlap]]]) -> dict[int, Overlap]:
    """Chooses the strongest overlap of each row, boilerplate left out.

    Args:
        found: (row, its overlaps) of the whole training set.

    Returns:
        One overlap by row; rows that share nothing but boilerplate are absent.
    """
    rows = list(found)
    spread = Counter(gram for _, overlaps in rows for gram in {overlap.gram for overlap in overlaps})
    chosen = {}
    for row, overlaps in rows:
        kept = [o for o in overlaps if not o.gram or spread[o.gram] <= MOST_TRAINING or o.similarity >= LIKELY]
        if kept:
            chosen[row] = max(kept, key=lambda overlap: (not overlap.gram, overlap.similarity))
    return chosen
