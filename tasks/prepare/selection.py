"""Which rows become what: decontamination, duplicates, held-out split, subsampling, curriculum, reuse subsets."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tasks.prepare.checks.rejections import Rejection, Rejections
from tasks.prepare.overlap.contamination import (
    EvaluationEntry,
    EvaluationIndex,
    Overlap,
    RowOverlaps,
    without_boilerplate,
)
from tasks.prepare.overlap.duplicates import Duplicate, equal_texts, near_duplicates
from tasks.prepare.row_store import StoredRows
from tasks.prepare.splits.curriculum import Integers, curriculum, split_heldout, strata, subsample_evenly
from tasks.prepare.splits.subsets import nested_subsets
from tasks.study.errors import InputError
from tasks.study.params import Params

log = logging.getLogger(__name__)
_WITHOUT_RATES = (
    "prepare: no problem of the source has a pass rate, so the held-out set is drawn at random from bins of length and "
    "the curriculum knows levels only; `rlscale prepare --measure-pass-rate MODEL` measures pass rates"
)
_CHUNK = 4096


@dataclass(frozen=True)
class Selection:
    """Rows of the store by purpose.

    Attributes:
        train: training rows in curriculum order, steps x batch.
        heldout: held-out rows in curriculum order; None where the source brings a held-out set.
        subsets: indices into `train` by reuse factor, ascending.
        overlap: contaminated rows by evaluation set and kind.
    """

    train: Integers
    heldout: Integers | None
    subsets: dict[int, list[int]]
    overlap: dict[str, dict[str, int]]


class RowFilter:
    """Removes rows and lists them as rejected."""

    def __init__(self, stored: StoredRows, label: str, rejections: Rejections) -> None:
        self.stored = stored
        self.remaining = np.ones(len(stored.keys), dtype=bool)
        self.overlap: Counter[tuple[str, str]] = Counter()
        self._label = label
        self._rejections = rejections

    @property
    def rows(self) -> Integers:
        """Rows that remain, ascending."""
        return np.flatnonzero(self.remaining)

    def remove_contaminated(self, overlaps: dict[int, Overlap]) -> None:
        """Removes rows that overlap evaluation problems."""
        self.overlap.update((overlap.entry.set, overlap.kind) for overlap in overlaps.values())
        details = {row: f"{o.kind}, similarity {o.similarity:.2f} {o.evidence}".strip() for row, o in overlaps.items()}
        self._remove({row: ("contaminated", details[row], o.entry) for row, o in overlaps.items()})

    def remove_duplicates(self, rule: str, duplicates: Sequence[Duplicate]) -> None:
        """Removes rows that repeat earlier ones."""
        names = self._ids([duplicate.of for duplicate in duplicates])
        pairs = zip(duplicates, names, strict=True)
        self._remove({d.row: (rule, f"similarity {d.similarity:.2f} to {name}", None) for d, name in pairs})

    def remove_surplus(self, rows: Integers) -> None:
        """Removes rows the study does not need."""
        self._remove(dict.fromkeys(rows.tolist(), ("surplus", "", None)))

    def _remove(self, reasons: dict[int, tuple[str, str, EvaluationEntry | None]]) -> None:
        order = sorted(reasons)
        for start in range(0, len(order), _CHUNK):
            part = order[start : start + _CHUNK]
            records = self.stored.table.drop_columns("normalized").take(pa.array(part, pa.int64())).to_pylist()
            for row, record in zip(part, records, strict=True):
                rule, detail, entry = reasons[row]
                evaluation = (entry.set, entry.problem_id) if entry else (None, None)
                problem_id, text = record["extra_info"]["problem_id"], record["prompt"][-1]["content"]
                origin = record["origin"]
                self._rejections.add(Rejection(self._label, origin, rule, detail, problem_id, text, *evaluation))
        self.remaining[order] = False

    def _ids(self, rows: Sequence[int]) -> list[str]:
        part = self.stored.table.select(["extra_info"]).take(pa.array(rows, pa.int64()))
        return [record["extra_info"]["problem_id"] for record in part.to_pylist()]


def clean(params: Params, stored: StoredRows, overlaps: RowOverlaps, label: str, rejections: Rejections) -> RowFilter:
    """Removes what overlaps evaluation sets and what repeats earlier rows.

    Args:
        params: the study.
        stored: rows that passed the row rules.
        overlaps: their overlaps with evaluation sets, boilerplate among them.
        label: name of the source in the list of rejected rows.
        rejections: lists the rows that are left out, here and later.
    """
    row_filter = RowFilter(stored, label, rejections)
    row_filter.remove_contaminated(without_boilerplate(overlaps))
    _remove_duplicates(params, row_filter)
    return row_filter


def select(params: Params, row_filter: RowFilter, has_heldout: bool) -> Selection:
    """Decides what the clean rows become.

    Args:
        params: the study.
        row_filter: the clean rows.
        has_heldout: whether the source brings its held-out set.

    Raises:
        InputError: too few problems are left.
    """
    spec, stored = params.prepare, row_filter.stored
    heldout = None
    if not has_heldout:
        rows = row_filter.rows
        if np.isnan(stored.rates[rows]).all():
            log.warning(_WITHOUT_RATES)
        heldout = rows[
            split_heldout(stored.rates[rows], stored.lengths(rows), spec.heldout, spec.easy_threshold, spec.seed)
        ]
        heldout = heldout[curriculum(stored.rates[heldout], stored.levels[heldout], spec.seed)]
        row_filter.remaining[heldout] = False
        _remove_overlaps_with(heldout, params, row_filter)
    train = _training_rows(params, row_filter)
    factors = params.grid.reuse.factors if params.grid.reuse else ()
    rates, levels = stored.rates[train], stored.levels[train]
    mixes = [levels, strata(rates, np.zeros_like(levels))]
    subsets = nested_subsets(strata(rates, levels), factors, spec.seed, mixes)
    overlap: dict[str, dict[str, int]] = {}
    for (name, kind), count in sorted(row_filter.overlap.items()):
        overlap.setdefault(name, {})[kind] = count
    return Selection(train, heldout, subsets, overlap)


def _remove_duplicates(params: Params, row_filter: RowFilter) -> None:
    rows, stored = row_filter.rows, row_filter.stored
    row_filter.remove_duplicates("duplicate", _renumbered(equal_texts(stored.keys[rows]), rows))
    if not stored.bands.size:
        return
    rows = row_filter.rows
    near = near_duplicates(
        stored.bands[rows],
        lambda indices: stored.texts(rows[indices].tolist()),
        params.prepare.cleaning.near_duplicate_similarity,
    )
    row_filter.remove_duplicates("near-duplicate", _renumbered(near, rows))


def _renumbered(duplicates: Sequence[Duplicate], rows: Integers) -> list[Duplicate]:
    """Duplicates among `rows`, with the numbers these rows have in the store."""
    return [Duplicate(int(rows[d.row]), int(rows[d.of]), d.similarity) for d in duplicates]


def _remove_overlaps_with(heldout: Integers, params: Params, row_filter: RowFilter) -> None:
    """Removes training rows that overlap the held-out rows just split off."""
    cleaning, stored = params.prepare.cleaning, row_filter.stored
    records = stored.table.select(["normalized", "extra_info"]).take(pa.array(heldout, pa.int64())).to_pylist()
    entries = [
        EvaluationEntry("heldout", record["extra_info"]["problem_id"], record["normalized"]) for record in records
    ]
    index = EvaluationIndex(entries, cleaning.overlap_similarity, cleaning.decontaminate_ngram)
    rows = row_filter.rows
    overlaps: RowOverlaps = []
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK].tolist()
        hits = index.find(stored.texts(part)[0])
        overlaps += [(row, row_hits) for row, row_hits in zip(part, hits, strict=True) if row_hits]
    row_filter.remove_contaminated(without_boilerplate(overlaps))


def _training_rows(params: Params, row_filter: RowFilter) -> Integers:
    """The training rows in curriculum order, steps x batch of them."""
    stored, rows, count = row_filter.stored, row_filter.rows, params.train.steps * params.train.batch
    if len(rows) < count:
        raise InputError(
            f"prepare.source: train.steps x train.batch = {count} training problems wanted, but {len(rows)} are left "
            f"after cleaning and the held-out split; lower train.steps to {len(rows) // params.train.batch}"
        )
    ordered = rows[curriculum(stored.rates[rows], stored.levels[rows], params.prepare.seed)]
    train = subsample_evenly(ordered, count)
    row_filter.remove_surplus(np.setdiff1d(ordered, train))
    return train
