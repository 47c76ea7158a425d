"""Made-up points with known laws, for the tests of `tasks.fit`."""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Measurements, measure

SIZES = np.array([0.5e9, 1.5e9, 3e9, 7e9, 14e9, 32e9, 72e9])
KMAX, N0 = 0.14, 1.3e10


def k_of(n: np.ndarray | float) -> np.ndarray | float:
    return KMAX / (1 + N0 / np.asarray(n))


def pivot_points(
    noise: float = 0.0, runs: int = 1, steps: int = 40, effect: float = 0.0, trials: int | None = None, seed: int = 0
) -> Measurements:
    """log L = -k(N) (log X - 1 - 0.02 log N), X = 512 step; noise per point and a level per run, both in log10."""
    rng = np.random.default_rng(seed)
    columns = []
    for n in SIZES:
        for run in range(runs):
            level = effect * rng.standard_normal()
            for step in range(1, steps + 1):
                x = np.log10(512.0 * step)
                y = -k_of(n) * (x - 1 - 0.02 * np.log10(n)) + level + noise * rng.standard_normal()
                loss = min(10.0**y, 1.0)
                if trials is not None:
                    loss = max(rng.binomial(trials, loss), 1) / trials
                columns.append((n, 10**x, loss, f"{n:g}-{run}", step))
    n_column, resource, loss, names, steps_column = (list(column) for column in zip(*columns, strict=True))
    count = None if trials is None else np.full(len(loss), trials)
    return measure(n_column, resource, loss, names, step=steps_column, trials=count, unit="data")
