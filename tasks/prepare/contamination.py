"""Overlap of training problems with evaluation problems: equal text, near-duplicates, shared word n-grams.

An n-gram counts when at least five of its words are words (not numbers or single letters of a formula) and it is no
boilerplate: in fewer than three evaluation problems and in at most ten training problems ("where m and n are relatively
prime positive integers find m + n" is in hundreds). The near-duplicate rule ignores numbers, so a benchmark problem
with other numbers is removed as well.

Not covered: translations and free rewordings.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.prepare.shingles import Hashes, bands, rows_per_band, shingle_set, signatures, similarity, word_grams
from tasks.prepare.text import OPERATORS

FEWEST_WORDS = 5
MOST_EVALUATION = 2
MOST_TRAINING = 10


@dataclass(frozen=True, slots=True)
class Entry:
    """An evaluation problem: its set, its id there and its normalised text."""

    set: str
    problem_id: str
    normalised: str


@dataclass(frozen=True, slots=True)
class Overlap:
    """A training problem found in an evaluation set.

    Attributes:
        kind: `exact`, `near` or `ngram`.
        entry: the evaluation problem.
        evidence: what they share: the similarity, or the words.
        gram: hash of the shared n-gram; 0 for the other kinds.
    """

    kind: str
    entry: Entry
    evidence: str
    gram: int = 0


class EvaluationIndex:
    """All evaluation problems, ready to be looked up."""

    def __init__(self, entries: Sequence[Entry], threshold: float, n: int) -> None:
        """Indexes evaluation problems.

        Args:
            entries: the problems.
            threshold: near-duplicates from this Jaccard similarity; 1 switches them off.
            n: words of an n-gram.
        """
        self.entries = entries
        self.threshold = threshold
        self.n = n
        self._exact: dict[str, Entry] = {}
        for entry in entries:
            self._exact.setdefault(entry.normalised, entry)
        self._width = rows_per_band(threshold) if threshold < 1.0 else 0
        self._bands: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        self._grams: dict[int, int] = {}
        if entries:
            self._index_bands()
            self._index_grams()
        self._gram_hashes = np.fromiter(self._grams, dtype=np.uint64, count=len(self._grams))
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
            [Overlap("exact", self._exact[text], "equal after normalisation")] if text in self._exact else []
            for text in texts
        ]
        if self._width:
            self._find_near(texts, signatures(texts) if signature is None else signature, found)
        self._find_grams(texts, found)
        return found

    def _index_bands(self) -> None:
        if self._width:
            for row, values in enumerate(bands(self._signatures(), self._width).tolist()):
                for key in enumerate(values):
                    self._bands[key].append(row)

    def _signatures(self) -> Hashes:
        return signatures([entry.normalised for entry in self.entries])

    def _index_grams(self) -> None:
        grams = word_grams([entry.normalised for entry in self.entries], self.n)
        kept = grams.words >= min(FEWEST_WORDS, self.n)
        pairs = set(zip(grams.hashes[kept].tolist(), grams.row[kept].tolist(), strict=True))
        spread = Counter(gram for gram, _ in pairs)
        self._grams = {gram: row for gram, row in sorted(pairs, reverse=True) if spread[gram] <= MOST_EVALUATION}

    def _find_near(self, texts: Sequence[str], signature: Hashes, found: list[list[Overlap]]) -> None:
        banded = bands(signature, self._width)
        candidates: dict[int, set[int]] = defaultdict(set)
        for row, band in np.argwhere(np.isin(banded, self._band_hashes)).tolist():
            candidates[row].update(self._bands.get((band, int(banded[row, band])), ()))
        for row, others in candidates.items():
            own = shingle_set(texts[row])
            scored = [(similarity(own, shingle_set(self.entries[other].normalised)), other) for other in sorted(others)]
            best, other = max(scored, key=lambda pair: pair[0], default=(0.0, 0))
            if best >= self.threshold and not found[row]:
                found[row].append(Overlap("near", self.entries[other], f"similarity {best:.2f}"))

    def _find_grams(self, texts: Sequence[str], found: list[list[Overlap]]) -> None:
        grams = word_grams(texts, self.n)
        hits = np.flatnonzero(np.isin(grams.hashes, self._gram_hashes) & (grams.words >= min(FEWEST_WORDS, self.n)))
        for hit in hits.tolist():
            gram, row = int(grams.hashes[hit]), int(grams.row[hit])
            words = [word for word in texts[row].split(" ") if word not in OPERATORS]
            first = int(grams.first[hit])
            evidence = " ".join(words[first : first + self.n])
            found[row].append(Overlap("ngram", self.entries[self._grams[gram]], evidence, gram))


def without_boilerplate(found: Iterable[tuple[int, list[Overlap]]]) -> dict[int, Overlap]:
    """Chooses the strongest overlap of each row, leaving out n-grams that more than ten rows share.

    Args:
        found: (row, its overlaps) of the whole training set.

    Returns:
        One overlap by row; rows that share nothing but boilerplate are absent.
    """
    rows = list(found)
    spread = Counter(gram for _, overlaps in rows for gram in {overlap.gram for overlap in overlaps})
    chosen = {}
    for row, overlaps in rows:
        kept = [overlap for overlap in overlaps if not overlap.gram or spread[overlap.gram] <= MOST_TRAINING]
        if kept:
            chosen[row] = kept[0]
    return chosen
