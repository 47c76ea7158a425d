"""Synthetic studies with known truth, to check that intervals keep their promise.

`study`: every size lies on the law. The truth is the published base law on data (arXiv 2509.25300): seven sizes, 105
steps of 512 prompts, 500 graded answers a point, binomial. A run is off by a random effect of 2 %, in its loss
(`level`), its k (`slope`) or both, independently.

`scattered_study`: sizes scatter about their law, as real ones do. The truth is any law of the registry, fitted to the
published base curves on data; a size's slope is off by a share `scatter` (one standard deviation) and its level by 0.4
of that, the ratio that was measured; runs are off by 1 % in loss; evaluation noise has `dispersion` times the variance
of the binomial. Studies have one or three runs per size, in turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from tasks.fit.data.columns import Columns
from tasks.fit.data.groups import read_group
from tasks.fit.data.measurements import Floats, Measurements, measure
from tasks.fit.forecasting.forecast import ExtrapolationSpread, predict
from tasks.fit.forecasting.unseen import forecast_unseen
from tasks.fit.laws import LAWS
from tasks.fit.solver.estimate import FitResult, Options, fit_law
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


@dataclass(frozen=True)
class ScatteredStudy:
    """A study, and what is true in it.

    Attributes:
        points: what was measured.
        k_law: slope of the law's curve of 72B, over the steps.
        k_size: slope of the curve that 72B really follows.
        loss: loss of 72B at its last step, without noise.
    """

    points: Measurements
    k_law: float
    k_size: float
    loss: float


@cache
def published_fit(law: str) -> FitResult:
    """A law fitted to the published base curves on data."""
    file = Path(__file__).parents[1] / "tests" / "data" / "published" / "base_data.csv"
    return fit_law(read_group(file, Columns())[1], LAWS[law])


def scattered_study(seed: int, law: str, scatter: float, dispersion: float) -> ScatteredStudy:
    """One study drawn from a fitted law."""
    rng = np.random.default_rng([seed, 11])
    steps = np.arange(1, STEPS + 1)
    x, sizes = np.log10(steps * PROMPTS), np.array(list(LEVELS))
    columns: list[tuple[Floats, ...]] = []
    names: list[str] = []
    for n in sizes:
        curve = published_fit(law).parameters.predict(np.full(STEPS, n), x)
        level = curve.mean() * (1 + 0.4 * scatter * rng.standard_normal())
        own = np.minimum(level + (curve - curve.mean()) * (1 + scatter * rng.standard_normal()), 0.0)
        for run in range(3 if seed % 2 else 1):
            rate = np.minimum(10.0 ** (own + 0.01 * rng.standard_normal() / np.log(10)), 1.0)
            noise = np.sqrt(dispersion * rate * (1 - rate) / TRIALS) * rng.standard_normal(STEPS)
            loss = np.clip(np.round((rate + noise) * TRIALS), 1, TRIALS) / TRIALS
            columns.append((np.full(STEPS, n), 10**x, loss, steps))
            names += [f"{n:g}-{run}"] * STEPS
    n_column, resource, losses, step = (np.concatenate(column) for column in zip(*columns, strict=True))
    points = measure(n_column, resource, losses, names, step=step, trials=np.full(len(losses), TRIALS), unit="data")
    slopes = (-float(np.polyfit(x, values, 1)[0]) for values in (curve, own))
    return ScatteredStudy(points, *slopes, float(10.0 ** own[-1]))


def coverage_of_scattered(study: ScatteredStudy, options: Options) -> dict[str, tuple[float, float, float, float]]:
    """(truth, estimate, low, high) of k(72B) by `fit`, and of its last loss by `forecast` with 72B withheld."""
    points, largest = study.points, float(study.points.sizes[-1])
    at = np.array([largest])
    law, alone = (
        k_intervals(with_draws(fit_law(points, LAWS[name], options)), at)[0] for name in ("saturating", "loglinear")
    )
    smaller, end = points.where(points.n < largest), float(points.resource.max())
    forecast = forecast_unseen(smaller, "", largest, end)
    return {
        "k(72B) of the law": (study.k_law, law.value, law.low95, law.high95),
        "k(72B) alone": (study.k_size, alone.value, alone.low95, alone.high95),
        "loss(72B) forecast": (study.loss, forecast.loss, forecast.low95, forecast.high95),
    }
