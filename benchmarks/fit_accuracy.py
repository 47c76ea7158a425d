"""Do the intervals keep their promise? Coverage and bias on synthetic studies drawn from the published coefficients.

    python -m benchmarks.fit_accuracy [--studies 200] [--effect level|slope|both|all] [--draws 2000]
    python -m benchmarks.fit_accuracy --scattered [--studies 200] [--draws 500]

The studies are those of `benchmarks.calibration`: seven sizes, 3 runs of 105 steps each, 500 graded answers a point and
a run-level random effect of 2 %. Reported is how often 95 % intervals contain the truth, for Kmax, N0, k(72B) and the
loss of 72B at the last step, with the bias and spread of the estimates.

With `--scattered` sizes scatter about their law by 0, 15 and 30 % and noise has 0.5 to 1.5 times the binomial variance
(`calibration.scattered_study`). Truths are drawn from the saturating law, then from the other laws of the registry in
turn. Reported are k(72B) by `fit` (of the law and of the size alone) and the last loss of 72B as `forecast` gives it
from the six smaller sizes. Nothing in the program was chosen on these studies but the rule that a law's numbers hold
the scatter of sizes; its degrees of freedom are those of theory.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np

from benchmarks.calibration import coverage_of_scattered, coverage_of_study, scattered_study
from tasks.fit.data.measurements import Floats
from tasks.fit.laws import SIZE_LAWS
from tasks.fit.solver.estimate import Options


def coverage_row(name: str, quantity: str, values: Floats) -> dict[str, Any]:
    """Coverage, bias, spread and width of studies' (truth, estimate, low, high) [studies, 4]."""
    truth, estimate, low, high = values.T
    covered = float(np.mean((low <= truth) & (truth <= high)))
    return {
        "effect": name,
        "quantity": quantity,
        "coverage_95": covered,
        "coverage_se": float(np.sqrt(covered * (1 - covered) / len(values))),
        "bias": float(np.mean(estimate / truth) - 1),
        "sd": float(np.std(estimate / truth)),
        "median_width": float(np.median(np.minimum(high, 1e30) / truth - low / truth)),
    }


def scattered_rows(studies: int, options: Options) -> list[dict[str, Any]]:
    """Coverage where sizes scatter, for truths of the fitted law and of the others in turn."""
    others = [name for name in SIZE_LAWS if name != "saturating"]
    table = []
    for kind, laws in (("fitted law", ["saturating"]), ("another", others)):
        for scatter in (0.0, 0.15, 0.3):
            drawn = [
                coverage_of_scattered(
                    scattered_study(seed, laws[seed // 2 % len(laws)], scatter, 0.5 + (0.618 * seed) % 1), options
                )
                for seed in range(studies)
            ]
            rows = {name: np.array([row[name] for row in drawn]) for name in drawn[0]}
            table += [coverage_row(f"{kind}, {scatter:.0%}", name, values) for name, values in rows.items()]
    return table


def effect_rows(effects: tuple[str, ...], studies: int, options: Options) -> list[dict[str, Any]]:
    """Coverage where every size lies on the law, by kind of run-to-run effect."""
    table = []
    for effect in effects:
        drawn = [coverage_of_study(seed, effect, options) for seed in range(studies)]
        rows = {name: np.array([row[name] for row in drawn]) for name in drawn[0]}
        table += [coverage_row(effect, name, values) for name, values in rows.items()]
    return table


def main() -> None:
    """Prints one row per kind of study and quantity."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--scattered", action="store_true")
    parser.add_argument("--effect", choices=["level", "slope", "both", "all"], default="all")
    parser.add_argument("--objective", default="log")
    parser.add_argument("--resampling", default="auto")
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    options = Options(given.objective, draws=given.draws, resampling=given.resampling)
    effects = ("level", "slope", "both") if given.effect == "all" else (given.effect,)
    table = scattered_rows(given.studies, options) if given.scattered else effect_rows(effects, given.studies, options)
    if given.json:
        print(json.dumps(table, indent=1))
        return
    print(f"{given.studies} studies a row, objective {given.objective}, resampling {given.resampling}")
    print(f"{'studies':18s}{'quantity':20s}{'coverage':>9s}{'+-':>7s}{'bias %':>8s}{'sd %':>7s}{'width %':>9s}")
    for row in table:
        print(
            f"{row['effect']:18s}{row['quantity']:20s}{row['coverage_95']:9.3f}{row['coverage_se']:7.3f}"
            f"{100 * row['bias']:8.2f}{100 * row['sd']:7.2f}{100 * row['median_width']:9.1f}"
        )


if __name__ == "__main__":
    main()
