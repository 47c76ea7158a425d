"""The points a law is fitted to, as plain arrays in one canonical order.

All logarithms are base 10, as in the published law: x = log10 X, y = log10 L. Rows are sorted on entry, so that the
order of a file never changes a bit of a result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.costs.units import short_count
from tasks.study.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Measurements:
    """Points of one variant along one resource.

    Attributes:
        n: model size N of each point, parameters [P].
        resource: X of each point, in `unit` [P].
        loss: test loss L in (0, 1] [P].
        run: index of each point's run in `runs` [P].
        runs: names of the runs.
        step: training step of each point, or the position within its run where the source has none [P].
        trials: graded answers behind each loss [P], or None where unknown.
        unit: name of the resource: compute (FLOPs), data (prompts), or the source's column.
        labels: names of sizes by N, where the source has any.
        steps_known: whether `step` is the source's own.
        notes: what was left out or converted while reading.
        count: rows that each point is the mean of [P]; None: one each.
    """

    n: Floats
    resource: Floats
    loss: Floats
    run: Ints
    runs: tuple[str, ...]
    step: Ints
    trials: Floats | None = None
    unit: str = "compute"
    labels: dict[float, str] = field(default_factory=dict)
    steps_known: bool = True
    notes: tuple[str, ...] = ()
    count: Floats | None = None

    @cached_property
    def x(self) -> Floats:
        """log10 X [P]."""
        return np.log10(self.resource)

    @cached_property
    def y(self) -> Floats:
        """log10 L [P]."""
        return np.log10(self.loss)

    @cached_property
    def sizes(self) -> Floats:
        """The distinct N, ascending [S]."""
        return np.unique(self.n)

    @cached_property
    def size(self) -> Ints:
        """Index of each point's N in `sizes` [P]."""
        return np.searchsorted(self.sizes, self.n)

    def __len__(self) -> int:
        return len(self.n)

    def label(self, n: float) -> str:
        """Name of a size: the source's own, or N in short form (7e+09 -> 7B)."""
        return self.labels.get(float(n)) or short_count(n)

    def where(self, mask: Mask) -> Measurements:
        """The points of a mask, in the same order; runs without points are dropped."""
        runs = np.unique(self.run[mask])
        return replace(
            self,
            n=self.n[mask],
            resource=self.resource[mask],
            loss=self.loss[mask],
            run=np.searchsorted(runs, self.run[mask]),
            runs=tuple(self.runs[index] for index in runs),
            step=self.step[mask],
            trials=None if self.trials is None else self.trials[mask],
            count=None if self.count is None else self.count[mask],
        )


def measure(
    n: ArrayLike,
    resource: ArrayLike,
    loss: ArrayLike,
    runs: Sequence[str] | None = None,
    locate: Callable[[int, str], str] | None = None,
    **others: object,
) -> Measurements:
    """Builds measurements from columns of equal length, sorted by size, run, step, X and loss.

    Args:
        n: N per point, parameters.
        resource: X per point.
        loss: L per point, in (0, 1].
        runs: name of each point's run; None: one run per size. A name that several sizes share is a run of each, then
            called name@size.
        locate: names an entry in messages, from its index and n, x or loss; None: by its position from 1.
        others: `step`, `trials` (columns), `unit` and `labels` of `Measurements`.

    Raises:
        InputError: a value is not finite, not positive, or a loss lies outside (0, 1].
    """
    n, resource, loss = (np.asarray(column, dtype=np.float64) for column in (n, resource, loss))
    _check_ranges(n, resource, loss, locate or (lambda index, name: f"point {index + 1}, {name}"))
    unique, run = _runs_of(n, runs)
    step = others.pop("step", None)
    steps = _positions(run, resource) if step is None else np.asarray(step, dtype=np.int64)
    order = np.lexsort((loss, resource, steps, run, n))
    trials = others.pop("trials", None)
    return Measurements(
        n[order],
        resource[order],
        loss[order],
        run[order],
        unique,
        steps[order],
        None if trials is None else np.asarray(trials, dtype=np.float64)[order],
        steps_known=step is not None,
        **others,  # type: ignore[arg-type]
    )


def _runs_of(n: Floats, runs: Sequence[str] | None) -> tuple[tuple[str, ...], Ints]:
    """Names of the runs in their order, and the index of each point's run [P]."""
    sizes, size = np.unique(n, return_inverse=True)
    labels = [short_count(value) for value in sizes]
    if runs is None:
        names, name = labels, size
    else:
        first: dict[str, int] = {}
        name = np.fromiter((first.setdefault(str(run), len(first)) for run in runs), np.int64, len(n))
        names = list(first)
    pairs, pair = np.unique(name * len(sizes) + size, return_inverse=True)
    of_name, of_size = np.divmod(pairs, len(sizes))
    shared = np.bincount(of_name, minlength=len(names)) > 1
    called = [f"{names[a]}@{labels[b]}" if shared[a] else names[a] for a, b in zip(of_name, of_size, strict=True)]
    order = np.argsort(np.array(called), kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return tuple(called[index] for index in order), rank[pair]


def _positions(run: Ints, resource: Floats) -> Ints:
    """1-based rank of each point within its run, by X."""
    order = np.lexsort((resource, run))
    starts = np.r_[0, np.flatnonzero(np.diff(run[order])) + 1]
    rank = np.empty(len(run), dtype=np.int64)
    rank[order] = np.arange(len(run)) - np.repeat(starts, np.diff(np.r_[starts, len(run)])) + 1
    return rank


def _check_ranges(n: Floats, resource: Floats, loss: Floats, locate: Callable[[int, str], str]) -> None:
    """One sentence for the first value out of range."""
    for name, values, valid, expected in (
        ("n", n, np.isfinite(n) & (n > 0), "a positive number"),
        ("x", resource, np.isfinite(resource) & (resource > 0), "a positive number"),
        ("loss", loss, (loss > 0) & (loss <= 1), "a loss in (0, 1]"),
    ):
        if not valid.all():
            index = int(np.argmin(valid))
            raise InputError(f"{locate(index, name)}: expected {expected}, found {values[index]:g}")
