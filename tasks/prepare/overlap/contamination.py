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

MIN_WORDS = 5
MAX_EVALUATION_PROBLEMS = 2
MAX_TRAINING_PROBLEMS = 2
LIKELY = 0.5


@dataclass(frozen=True, slots=True)
class EvaluationEntry:
    """An evaluation problem: its set, its id there and its normalized text."""

    set: str
    problem_id: str
    normalized: str


@dataclass(frozen=True, slots=True)
class Overlap:
    """A training problem found in an evaluation set.

    Attributes:
        kind: `exact`, `near` or `ngram`.
        entry: the evaluation problem.
        similarity: Jaccard similarity of the normalized texts.
        evidence: the words they share, for an n-gram.
        gram: hash of the shared n-gram; 0 for the other kinds.
    """

    kind: str
    entry: EvaluationEntry
    similarity: float
    evidence: str = ""
    gram: int = 0


RowOverlaps = list[tuple[int, list[Overlap]]]
"""Rows of the training set with their overlaps, boilerplate still among them."""


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
        self._rows_per_band = rows_per_band(threshold) if threshold < 1.0 else 0
        self._bands: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        self._gram_hashes, self._gram_rows = self._distinctive_grams()
        if entries:
            self._index_bands()
        self._band_hashes = np.asarray([key for _, key in self._bands], dtype=np.uint64)

    def find(self, texts: Sequence[str], signatures: Hashes | None = None) -> list[list[Overlap]]:
        """Looks up training problems.

        Args:
            texts: normalized texts.
            signatures: their MinHash signatures; None: computed here.

        Returns:
            The overlaps of each text, the strongest first; an n-gram hit may turn out to be boilerplate, see
            `without_boilerplate`.
        """
        overlaps: list[list[Overlap]] = [
            [Overlap("exact", self._exact[text], 1.0)] if text in self._exact else [] for text in texts
        ]
        if self._rows_per_band:
            self._find_near(texts, minhash_signatures(texts) if signatures is None else signatures, overlaps)
        self._find_grams(texts, overlaps)
        return overlaps

    def _index_bands(self) -> None:
        if self._rows_per_band:
            signatures = minhash_signatures([entry.normalized for entry in self.entries])
            for row, values in enumerate(lsh_bands(signatures, self._rows_per_band).tolist()):
                for key in enumerate(values):
                    self._bands[key].append(row)

    def _distinctive_grams(self) -> tuple[Hashes, NDArray[np.int64]]:
        """Hashes of the n-grams that are no boilerplate, ascending, and the evaluation problem each stands in."""
        if not self.n or not self.entries:
            return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
        grams = word_ngrams([entry.normalized for entry in self.entries], self.n)
        distinctive = grams.words >= min(MIN_WORDS, self.n)
        hashes, rows = grams.hashes[distinctive], grams.row[distinctive]
        order = np.lexsort((rows, hashes))
        hashes, rows = hashes[order], rows[order]
        first = np.ones(len(hashes), dtype=bool)
        first[1:] = (hashes[1:] != hashes[:-1]) | (rows[1:] != rows[:-1])
        distinct, start, num_problems = np.unique(hashes[first], return_index=True, return_counts=True)
        rare = num_problems <= MAX_EVALUATION_PROBLEMS
        return distinct[rare], rows[first][start][rare]

    def _find_near(self, texts: Sequence[str], signatures: Hashes, overlaps: list[list[Overlap]]) -> None:
        banded = lsh_bands(signatures, self._rows_per_band)
        candidates: dict[int, set[int]] = defaultdict(set)
        for row, band in np.argwhere(np.isin(banded, self._band_hashes)).tolist():
            candidates[row].update(self._bands.get((band, int(banded[row, band])), ()))
        for row, others in candidates.items():
            own = shingle_set(texts[row])
            scored = [(similarity(own, shingle_set(self.entries[other].normalized)), other) for other in sorted(others)]
            best, other = max(scored, key=lambda pair: pair[0], default=(0.0, 0))
            if best >= self.threshold and not overlaps[row]:
                overlaps[row].append(Overlap("near", self.entries[other], best))

    def _find_grams(self, texts: Sequence[str], overlaps: list[list[Overlap]]) -> None:
        if not len(self._gram_hashes):
            return
        grams = word_ngrams(texts, self.n)
        hits = np.flatnonzero(np.isin(grams.hashes, self._gram_hashes) & (grams.words >= min(MIN_WORDS, self.n)))
        scores: dict[tuple[int, int], float] = {}
        for hit in hits.tolist():
            gram, row, first = int(grams.hashes[hit]), int(grams.row[hit]), int(grams.first[hit])
            other = int(self._gram_rows[np.searchsorted(self._gram_hashes, grams.hashes[hit])])
            if (row, other) not in scores:
                scores[row, other] = similarity(shingle_set(texts[row]), shingle_set(self.entries[other].normalized))
            words = [word for word in texts[row].split(" ") if word not in OPERATORS]
            evidence = " ".join(words[first : first + self.n])
            overlaps[row].append(Overlap("ngram", self.entries[other], scores[row, other], evidence, gram))


def without_boilerplate(overlaps: Iterable[tuple[int, list[Overlap]]]) -> dict[int, Overlap]:
    """Chooses the strongest overlap of each row, boilerplate left out.

    Args:
        overlaps: (row, its overlaps) of the whole training set.

    Returns:
        One overlap by row; rows that share nothing but boilerplate are absent.
    """
    rows = list(overlaps)
    num_rows = Counter(gram for _, hits in rows for gram in {hit.gram for hit in hits})
    strongest = {}
    for row, hits in rows:
        distinctive = [
            hit
            for hit in hits
            if not hit.gram or num_rows[hit.gram] <= MAX_TRAINING_PROBLEMS or hit.similarity >= LIKELY
        ]
        if distinctive:
            strongest[row] = max(distinctive, key=lambda hit: (not hit.gram, hit.similarity))
    return strongest
