"""Do the intervals keep their promise? Coverage and bias on synthetic studies drawn from the published coefficients.

    python -m benchmarks.fit_accuracy [--studies 200] [--effect both|level|slope] [--draws 2000]

Each study has the seven published sizes, 3 runs of 105 steps each, 512 prompts a step, 500 graded answers a point. The
truth is the published base law on data. A run's loss is off by a random effect of 2 %: `level` multiplies its loss by
exp(0.02 z), `slope` its k by 1 + 0.02 z, `both` does both, independently. Losses are binomial counts / 500. Reported is how
often 95 % intervals contain the truth, for Kmax, k(72B), the loss of 72B at the last step, and the same with 72B held out
(law chosen: pivot; its truth is that of the published free levels, so this one also tests the law).
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from tasks.fit.estimate import Options, fit_law
from tasks.fit.forecast import LawError, predict
from tasks.fit.inference import coefficient_intervals, k_intervals, with_draws
from tasks.fit.laws import LAWS
from tasks.fit.measurements import Measurements, measure
from tasks.fit.profile import profile_intervals

KMAX, N0 = 0.13996, 1.300e10
LEVELS = {0.5e9: 0.0040, 1.5e9: 0.0309, 3e9: 0.0477, 7e9: 0.0713, 14e9: 0.1146, 32e9: 0.1535, 72e9: 0.1849}
STEPS, PROMPTS, TRIALS, RUNS, EFFECT = 105, 512, 500, 3, 0.02


def k_of(n: float) -> float:
    """The true k."""
    return KMAX / (1 + N0 / n)


def study(seed: int, effect: str) -> Measurements:
    """One synthetic study."""
    rng = np.random.default_rng(seed)
    x = np.log10(np.arange(1, STEPS + 1) * PROMPTS)
    columns: list[tuple[float, float, float, str, int]] = []
    for n, level in LEVELS.items():
        for run in range(RUNS):
            shift = EFFECT * rng.standard_normal() / np.log(10) if effect != "slope" else 0.0
            tilt = 1 + EFFECT * rng.standard_normal() if effect != "level" else 1.0
            rate = np.clip(10 ** (level + shift - k_of(n) * tilt * x), 0, 1)
            wrong = np.maximum(rng.binomial(TRIALS, rate), 1)
            columns += [
                (n, 10**a, w / TRIALS, f"{n:g}-{run}", s + 1) for s, (a, w) in enumerate(zip(x, wrong, strict=True))
            ]
    n_column, resource, loss, runs, steps = (list(column) for column in zip(*columns, strict=True))
    trials = np.full(len(loss), TRIALS)
    return measure(n_column, resource, loss, runs, step=steps, trials=trials, unit="data")


def judge(seed: int, effect: str, options: Options) -> dict[str, tuple[float, float, float, float]]:
    """(truth, estimate, low, high) by quantity for one study."""
    points = study(seed, effect)
    uncertain = with_draws(fit_law(points, LAWS["saturating"], options))
    named = coefficient_intervals(uncertain)
    largest, end = 72e9, float(np.log10(STEPS * PROMPTS))
    k = k_intervals(uncertain, np.array([largest]))[0]
    loss = predict(uncertain, [largest], [end], LawError((), ())).loss(0, "mean")
    profile = profile_intervals(uncertain)
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


def main() -> None:
    """Prints one table per kind of random effect."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--effect", choices=["level", "slope", "both", "all"], default="all")
    parser.add_argument("--objective", default="log")
    parser.add_argument("--resampling", default="auto")
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    options = Options(given.objective, draws=given.draws, resampling=given.resampling)
    table = []
    for effect in ("level", "slope", "both") if given.effect == "all" else (given.effect,):
        rows = [judge(seed, effect, options) for seed in range(given.studies)]
        for name in rows[0]:
            values = np.array([row[name] for row in rows])
            truth, estimate, low, high = values.T
            covered = float(np.mean((low <= truth) & (truth <= high)))
            table.append(
                {
                    "effect": effect,
                    "quantity": name,
                    "coverage_95": covered,
                    "coverage_se": float(np.sqrt(covered * (1 - covered) / given.studies)),
                    "bias": float(np.mean(estimate / truth) - 1),
                    "sd": float(np.std(estimate / truth)),
                    "mean_width": float(np.mean(np.minimum(high, 1e30) / truth - low / truth)),
                }
            )
    if given.json:
        print(json.dumps(table, indent=1))
        return
    print(f"{given.studies} studies, objective {given.objective}, resampling {given.resampling}")
    print(f"{'effect':7s}{'quantity':16s}{'coverage':>9s}{'+-':>7s}{'bias %':>8s}{'sd %':>7s}{'width %':>9s}")
    for row in table:
        print(
            f"{row['effect']:7s}{row['quantity']:16s}{row['coverage_95']:9.3f}{row['coverage_se']:7.3f}"
            f"{100 * row['bias']:8.2f}{100 * row['sd']:7.2f}{100 * row['mean_width']:9.1f}"
        )


if __name__ == "__main__":
    main()
