"""Gain by benchmark and size: how much of the error is gone after training, in the trained domain and out of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.costs.units import short_count
from tasks.fit.data.table import Table
from tasks.study.errors import InputError

# Substrings of benchmark names whose problems are mathematics, the domain that was trained on.
IN_DOMAIN = ("holdout", "heldout", "math", "gsm8k", "aime", "amc", "arithmetic")


@dataclass(frozen=True)
class Gain:
    """One benchmark and size.

    Attributes:
        benchmark: its name.
        in_domain: whether it tests what was trained.
        n: N, parameters.
        size: name of the size.
        before: test loss before training.
        after: best test loss of the training (best over steps and runs, so it flatters).
        absolute: before - after.
        relative: share of the loss that is gone.
    """

    benchmark: str
    in_domain: bool
    n: float
    size: str
    before: float
    after: float
    absolute: float
    relative: float


@dataclass(frozen=True)
class Trend:
    """How the gain on a benchmark goes with size: change of the absolute gain per decade of N, and its mean."""

    benchmark: str
    in_domain: bool
    mean_gain: float
    slope_per_decade: float
    sizes_that_lose: int


def gains(table: Table) -> tuple[list[Gain], list[Trend]]:
    """Reads a table with columns benchmark, params, pre_training_test_loss and rl_best_test_loss.

    Raises:
        InputError: a column is missing or a loss lies outside [0, 1].
    """
    for name in ("benchmark", "params", "pre_training_test_loss", "rl_best_test_loss"):
        if name not in table.values:
            raise InputError(f"{table.path}: no column {name!r}, found {', '.join(table.values)}")
    n = table.sizes("params")
    before, after = (table.numbers(c) for c in ("pre_training_test_loss", "rl_best_test_loss"))
    for column, values in (("pre_training_test_loss", before), ("rl_best_test_loss", after)):
        bad = np.flatnonzero((values < 0) | (values > 1))
        if len(bad):
            raise InputError(f"{table.where(int(bad[0]), column)}: expected a loss in [0, 1], found {values[bad[0]]:g}")
    names = [str(value) for value in table.values["benchmark"]]
    labels = [str(value) for value in table.values.get("model", [short_count(value) for value in n])]
    rows = [
        Gain(name, _trained(name), float(n[i]), labels[i], float(before[i]), float(after[i]),
             float(before[i] - after[i]), float(1 - after[i] / before[i]) if before[i] > 0 else 0.0)
        for i, name in enumerate(names)
    ]  # fmt: skip
    rows.sort(key=lambda row: (not row.in_domain, row.benchmark, row.n))
    return rows, [
        _trend([row for row in rows if row.benchmark == name]) for name in dict.fromkeys(r.benchmark for r in rows)
    ]


def _trained(benchmark: str) -> bool:
    return any(part in benchmark.lower() for part in IN_DOMAIN)


def _trend(rows: list[Gain]) -> Trend:
    gain = np.array([row.absolute for row in rows])
    log_n = np.log10([row.n for row in rows])
    slope = float(np.polyfit(log_n, gain, 1)[0]) if len(rows) > 1 else 0.0
    return Trend(rows[0].benchmark, rows[0].in_domain, float(gain.mean()), slope, int((gain < 0).sum()))
