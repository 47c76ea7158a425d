"""Do the intervals keep their promise? Coverage and bias on synthetic studies drawn from the published coefficients.

    python -m benchmarks.fit_accuracy [--studies 200] [--effect level|slope|both|all] [--draws 2000]

The studies are those of `benchmarks.calibration`: seven sizes, 3 runs of 105 steps each, 500 graded answers a point and
a run-level random effect of 2 %. Reported is how often 95 % intervals contain the truth, for Kmax, N0, k(72B) and the
loss of 72B at the last step, with the bias and spread of the estimates.
"""

from __future__ import annotations

import argparse
import json

import numpy as np

from benchmarks.calibration import coverage_of_study
from tasks.fit.solver.estimate import Options


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
        rows = [coverage_of_study(seed, effect, options) for seed in range(given.studies)]
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
