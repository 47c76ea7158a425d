"""Synthetic studies with known truth, to check that intervals keep their promise.

The truth is the published base law on data (arXiv 2509.25300): seven sizes, 105 steps of 512 prompts, 500 graded
answers a point, binomial. A run is off by a random effect of 2 %, in its loss (`level`), its k (`slope`) or both,
independently.
"""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Measurements, measure
from tasks.fit.forecasting.forecast import ExtrapolationSpread, predict
from tasks.fit.laws import LAWS
from tasks.fit.solver.estimate import Options, fit_law
from tasks.fit.uncertainty.inference import coefficient_intervals, k_intervals, with_draws
from tasks.fit.uncertainty.profile import profile_intervals

KMAX, N0 = 0.13996, 1.300e10
LEVELS = {0.5e9: 0.0040, 1.5e9: 0.0309, 3e9: 0.0477, 7e9: 0.0713, 14e9: 0.1146, 32e9: 0.1535, 72e9: 0.1849}
STEPS, PROMPTS, TRIALS, RUNS, EFFECT = 105, 512, 500, 3, 0.02


def k_of(n: float) -> float:
    """The true k."""
    return KMAX / (1 + N0 / n)


def study(seed: int, effect: str) -> Measurements:
    """One synthetic study.

    Args:
        seed: of its randomness.
        effect: level, slope or both.
    """
    rng = np.random.default_rng(seed)
    x = np.log10(np.arange(1, STEPS + 1) * PROMPTS)
    columns: list[tuple[float, float, float, str, int]] = []
    for n, level in LEVELS.items():
        for run in range(RUNS):
            shift = EFFECT * rng.standard_normal() / np.log(10) if effect != "slope" else 0.0
            slope_shift = 1 + EFFECT * rng.standard_normal() if effect != "level" else 1.0
            rate = np.clip(10 ** (level + shift - k_of(n) * slope_shift * x), 0, 1)
            wrong = np.maximum(rng.binomial(TRIALS, rate), 1)
            columns += [
                (n, 10**a, w / TRIALS, f"{n:g}-{run}", s + 1) for s, (a, w) in enumerate(zip(x, wrong, strict=True))
            ]
    n_column, resource, loss, runs, steps = (list(column) for column in zip(*columns, strict=True))
    trials = np.full(len(loss), TRIALS)
    return measure(n_column, resource, loss, runs, step=steps, trials=trials, unit="data")


def coverage_of_study(seed: int, effect: str, options: Options) -> dict[str, tuple[float, float, float, float]]:
    """(truth, estimate, low, high) by quantity for one study."""
    points = study(seed, effect)
    fit = with_draws(fit_law(points, LAWS["saturating"], options))
    named = coefficient_intervals(fit)
    largest, end = 72e9, float(np.log10(STEPS * PROMPTS))
    k = k_intervals(fit, np.array([largest]))[0]
    loss = predict(fit, [largest], [end], ExtrapolationSpread()).loss(0, "mean")
    profile = profile_intervals(fit)
    truth = 10 ** (LEVELS[largest] - k_of(largest) * end)
    out = {
        "Kmax": (KMAX, named["Kmax"].value, named["Kmax"].low95, named["Kmax"].high95),
        "N0": (N0, named["N0"].value, named["N0"].low95, named["N0"].high95),
        "k(72B)": (k_of(largest), k.value, k.low95, k.high95),
        "loss(72B)": (truth, loss.value, loss.low95, loss.high95),
    }
    for name, true in (("Kmax", KMAX), ("N0", N0)):
        row = profile[name]
        low, high = (0.0 if row.low is None else row.low), (np.inf if row.high is None else row.high)
        out[f"{name} (profile)"] = (true, float(row.value or np.nan), low, high)
    return out
