"""Which rows become what: decontamination, duplicates, held-out split, thinning, curriculum, reuse subsets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from tasks.prepare.checks.rejections import Rejection, Rejections
from tasks.prepare.overlap.contamination import EvaluationEntry, EvaluationIndex, Overlap, without_boilerplate
from tasks.prepare.overlap.duplicates import Duplicate, equal_texts, near_duplicates
from tasks.prepare.row_store import StoredRows
from tasks.prepare.splits.curriculum import Integers, curriculum, split_heldout, strata, subsample_evenly
from tasks.prepare.splits.subsets import nested_subsets
from tasks.study.errors import InputError
from tasks.study.params import Params

_CHUNK = 4096


@dataclass(frozen=True)
class Selection:
    """Rows of the scratch table by purpose.

    Attributes:
        train: training rows in curriculum order, steps x batch.
        heldout: held-out rows in curriculum order; None where the source brings a held-out set.
        subsets: places within `train` by reuse factor, ascending.
        overlap: contaminated rows by evaluation set and kind.
    """

    train: Integers
    heldout: Integers | None
    subsets: dict[int, list[int]]
    overlap: dict[str, dict[str, int]]


class RowFilter:
    """Takes rows out and lists them."""

    def __init__(self, kept: StoredRows, label: str, rejections: Rejections) -> None:
        self.kept = kept
        self.alive = np.ones(len(kept.keys), dtype=bool)
        self.overlap: Counter[tuple[str, str]] = Counter()
        self._label = label
        self._rejections = rejections

    @property
    def rows(self) -> Integers:
        """Rows still in."""
        return np.flatnonzero(self.alive)

    def contaminated(self, overlaps: dict[int, Overlap]) -> None:
        """Removes rows that overlap evaluation problems."""
        self.overlap.update((overlap.entry.set, overlap.kind) for overlap in overlaps.values())
        details = {row: f"{o.kind}, similarity {o.similarity:.2f} {o.evidence}".strip() for row, o in overlaps.items()}
        self._remove({row: ("contaminated", details[row], o.entry) for row, o in overlaps.items()})

    def duplicates(self, rule: str, found: Sequence[Duplicate]) -> None:
        """Removes rows that repeat earlier ones."""
        names = self._ids([duplicate.of for duplicate in found])
        pairs = zip(found, names, strict=True)
        self._remove({d.row: (rule, f"similarity {d.similarity:.2f} to {name}", None) for d, name in pairs})

    def surplus(self, rows: Integers) -> None:
        """Removes rows the study does not need."""
        self._remove(dict.fromkeys(rows.tolist(), ("surplus", "", None)))

    def _remove(self, reasons: dict[int, tuple[str, str, EvaluationEntry | None]]) -> None:
        order = sorted(reasons)
        for start in range(0, len(order), _CHUNK):
            part = order[start : start + _CHUNK]
            records = self.kept.table.drop_columns("normalised").take(pa.array(part, pa.int64())).to_pylist()
            for row, record in zip(part, records, strict=True):
                rule, detail, entry = reasons[row]
                place = (entry.set, entry.problem_id) if entry else (None, None)
                identity, text = record["extra_info"]["problem_id"], record["prompt"][-1]["content"]
                self._rejections.add(Rejection(self._label, record["origin"], rule, detail, identity, text, *place))
        self.alive[order] = False

    def _ids(self, rows: Sequence[int]) -> list[str]:
        part = self.kept.table.select(["extra_info"]).take(pa.array(rows, pa.int64()))
        return [record["extra_info"]["problem_id"] for record in part.to_pylist()]


def clean(
    params: Params, kept: StoredRows, overlaps: Sequence[tuple[int, list[Overlap]]], label: str, rejections: Rejections
) -> RowFilter:
    """Takes out what overlaps evaluation sets and what repeats earlier rows.

    Args:
        params: the study.
        kept: rows that passed the row rules.
        overlaps: their overlaps with evaluation sets, boilerplate among them.
        label: name of the source in the list of rejected rows.
        rejections: takes the rows that are left out, here and later.
    """
    remover = RowFilter(kept, label, rejections)
    remover.contaminated(without_boilerplate(overlaps))
    _remove_duplicates(params, remover)
    return remover


def select(params: Params, remover: RowFilter, heldout_given: bool) -> Selection:
    """Decides what the clean rows become.

    Args:
        params: the study.
        remover: the clean rows.
        heldout_given: whether the held-out set comes from elsewhere.

    Raises:
        InputError: too few problems are left.
    """
    spec, kept = params.prepare, remover.kept
    heldout = None
    if not heldout_given:
        rows = remover.rows
        heldout = rows[split_heldout(kept.rates[rows], spec.heldout, spec.easy_threshold, spec.seed)]
        heldout = heldout[curriculum(kept.rates[heldout], kept.levels[heldout], spec.seed)]
        remover.alive[heldout] = False
        _remove_like(heldout, params, remover)
    train = _training_rows(params, remover)
    factors = params.grid.reuse.factors if params.grid.reuse else ()
    rates, levels = kept.rates[train], kept.levels[train]
    mixes = [levels, strata(rates, np.zeros_like(levels))]
    subsets = nested_subsets(strata(rates, levels), factors, spec.seed, mixes)
    overlap: dict[str, dict[str, int]] = {}
    for (name, kind), count in sorted(remover.overlap.items()):
        overlap.setdefault(name, {})[kind] = count
    return Selection(train, heldout, subsets, overlap)


def _remove_duplicates(params: Params, remover: RowFilter) -> None:
    rows, kept = remover.rows, remover.kept
    equal = [Duplicate(int(rows[d.row]), int(rows[d.of]), d.similarity) for d in equal_texts(kept.keys[rows])]
    remover.duplicates("duplicate", equal)
    if not kept.bands.size:
        return
    rows = remover.rows
    near = near_duplicates(
        kept.bands[rows],
        lambda places: kept.texts(rows[places].tolist()),
        params.prepare.cleaning.near_duplicate_similarity,
    )
    remover.duplicates("near-duplicate", [Duplicate(int(rows[d.row]), int(rows[d.of]), d.similarity) for d in near])


def _remove_like(heldout: Integers, params: Params, remover: RowFilter) -> None:
    """Removes training rows that overlap the held-out rows just split off."""
    cleaning, kept = params.prepare.cleaning, remover.kept
    records = kept.table.select(["normalised", "extra_info"]).take(pa.array(heldout, pa.int64())).to_pylist()
    entries = [
        EvaluationEntry("heldout", record["extra_info"]["problem_id"], record["normalised"]) for record in records
    ]
    index = EvaluationIndex(entries, cleaning.overlap_similarity, cleaning.decontaminate_ngram)
    rows, found = remover.rows, []
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK].tolist()
        hits = index.find(kept.texts(part)[0])
        found += [(row, overlaps) for row, overlaps in zip(part, hits, strict=True) if overlaps]
    remover.contaminated(without_boilerplate(found))


def _training_rows(params: Params, remover: RowFilter) -> Integers:
    """The training rows in curriculum order, steps x batch of them."""
    kept, rows, wanted = remover.kept, remover.rows, params.train.steps * params.train.batch
    if len(rows) < wanted:
        raise InputError(
            f"prepare.source: train.steps x train.batch = {wanted} training problems wanted, but {len(rows)} are left "
            f"after cleaning and the held-out split; lower train.steps to {len(rows) // params.train.batch}"
        )
    ordered = rows[curriculum(kept.rates[rows], kept.levels[rows], params.prepare.seed)]
    train = subsample_evenly(ordered, wanted)
    remover.surplus(np.setdiff1d(ordered, train))
    return train
