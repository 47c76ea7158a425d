"""How fast is a fit, and how does it compare with the published way of fitting?

    python -m benchmarks.fit_speed [FILE] [--trials 5] [--iterations 1600] [--population 20]

Same points, same objective (squared error in linear loss, the published one), one core. The rival is CMA-ES as
published: some trials from random starts, each of 1,600 iterations with a population of 20, over Kmax, log10 N0 and
E_i of the seven sizes, vectorised over the population; the driver is the package `cma`. Without a file, points are
drawn from the published coefficients (7 sizes x 105 steps minus 3).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from benchmarks.calibration import study
from tasks.fit.data.columns import Columns, resolve
from tasks.fit.data.groups import groups_of
from tasks.fit.data.measurements import Floats, Measurements
from tasks.fit.data.table import read_table
from tasks.fit.laws import LAWS
from tasks.fit.solver.estimate import Options, fit_law
from tasks.fit.uncertainty.inference import with_draws


def points_of(file: Path | None) -> Measurements:
    """The file's first group, or 732 synthetic points."""
    if file is not None:
        table = read_table(file)
        return next(iter(groups_of(table, resolve(table, Columns())[0]).values()))
    points = study(0, "level")
    first = np.array([name.endswith("-0") for name in points.runs])[points.run]
    keep = first & ~((points.n == 72e9) & (points.step > 102))
    return points.where(keep)


def best_seconds(action: Callable[[], Any], repeats: int) -> float:
    """Fewest CPU seconds of some runs on one core: what the code needs, whatever else the machine does."""
    action()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        seconds.append(time.process_time() - start)
    return min(seconds)


def population_error(points: Measurements) -> Callable[[Floats], Floats]:
    """Sum of squared errors in linear loss of candidates [M, 2 + S]: Kmax, log10 N0, E_i."""
    size, x, log_n = points.size, points.x, np.log10(points.sizes)

    def error(candidates: Floats) -> Floats:
        k = candidates[:, :1] / (1 + 10.0 ** (candidates[:, 1:2] - log_n))
        fitted = 10.0 ** (candidates[:, 2:][:, size] - k[:, size] * x)
        return ((fitted - points.loss) ** 2).sum(axis=1)

    return error


def evolve(points: Measurements, trials: int, iterations: int, population: int) -> tuple[float, list[float]]:
    """CMA-ES as published; returns CPU seconds and the objective of each trial."""
    import cma

    error, found = population_error(points), []
    start = time.process_time()
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        first = [rng.uniform(0.02, 0.3), rng.uniform(8.5, 11.5), *rng.uniform(-0.5, 2.5, len(points.sizes))]
        settings = {"popsize": population, "maxiter": iterations, "verbose": -9, "seed": trial + 1}
        settings |= {"tolfun": 0, "tolx": 0, "tolfunhist": 0, "tolstagnation": iterations}
        search = cma.CMAEvolutionStrategy(first, 0.3, settings)
        for _ in range(iterations):
            candidates = search.ask()
            search.tell(candidates, error(np.array(candidates)).tolist())
        found.append(float(search.result.fbest))
    return time.process_time() - start, found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--trials", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=1600)
    parser.add_argument("--population", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    points, law = points_of(given.file), LAWS["saturating"]
    log_fit = fit_law(points, law)
    rows = {
        "points": float(len(points)),
        "fit, log objective, ms": 1e3 * best_seconds(lambda: fit_law(points, law), 50),
        "fit, published objective, ms": 1e3 * best_seconds(lambda: fit_law(points, law, Options("linear")), 50),
        "10,000 draws, s": best_seconds(lambda: with_draws(fit_law(points, law, Options(draws=10_000))), 3),
    }
    ours = fit_law(points, law, Options("linear"))
    seconds, found = evolve(points, given.trials, given.iterations, given.population)
    rows |= {
        "CMA-ES, s": seconds,
        "times faster": 1e3 * seconds / rows["fit, published objective, ms"],
        "objective, ours": ours.value,
        "objective, best trial of CMA-ES": min(found),
        "objective, worst trial of CMA-ES": max(found),
        "log objective, ours": log_fit.value,
    }
    if given.json:
        print(json.dumps(rows, indent=1))
        return
    for name, value in rows.items():
        print(f"{name:36s}{value:18.10g}")


if __name__ == "__main__":
    main()
