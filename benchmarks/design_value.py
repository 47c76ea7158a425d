"""What a designed study is worth: error of the loss at 72B after simulated studies, full and designed.

Truths: the pivot law as fitted to the published base curves up to 32B and as uncertain as they leave it, every size
off it by a level and a slope of its own (6 % and 15 %, and 0.01 each), runs with a level of their own, the misfit of
`tasks.fit.forecasting.misfit` and white noise. Every study is measured under every design, the law is fitted as
`rlscale design` fits it (sizes weighted by what they carry) and, for comparison, by plain least squares; scored is
log10 L on the target's own line at its last step. Designs are made from the published curves alone, before any study is
drawn. GPU-hours: 12 N T FLOPs a step at 35 % of an H100's peak, 1,000 tokens per completion, no evaluation, which makes
721 for the full grid.

    python benchmarks/design_value.py [--studies 200] [--table tests/data/published/base_compute.csv]
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from tasks.costs.gpu_table import find_gpu
from tasks.costs.step_cost import Workload
from tasks.costs.step_time import Efficiency
from tasks.fit.data.groups import Columns, read_group
from tasks.fit.data.measurements import Measurements, measure
from tasks.fit.design.greedy import Runs, buy, final_runs
from tasks.fit.design.information import DesignModel, LineModel, PivotCoefficients
from tasks.fit.design.weighted_fit import Pilot, fit_pivot, size_line
from tasks.fit.forecasting.plan import PlanSettings
from tasks.fit.forecasting.workload import per_step
from tasks.fit.laws import LAWS
from tasks.fit.solver.estimate import Options, fit_law

TARGET, LAST_STEP, BUDGET = 72e9, 105, 40.0
SETTINGS = PlanSettings(Workload(512, 8, 1000.0, 0), find_gpu("h100"), Efficiency(0.35, 0.35))


def price(n: float, steps: int) -> float:
    """GPU-hours of a run."""
    return SETTINGS.cost(n, steps).gpu_hours


def model_of(points: Measurements, pilot: Pilot, law: PivotCoefficients) -> DesignModel:
    """The model of a design under some law; the points tell what the resource is."""

    def line(n: float) -> LineModel:
        step_x = float(np.log10(per_step(points, np.array([n]), SETTINGS.work)[0]))
        return law.line(n, step_x, pilot.center, pilot.noise)

    return DesignModel(line, TARGET, LAST_STEP)


def draw_law(
    model: DesignModel, sizes: list[float], law: PivotCoefficients, rng: np.random.Generator
) -> PivotCoefficients:
    """A law as uncertain as it is after the published runs."""
    evidence = np.sum([model.evidence(n, model.line(n).information(LAST_STEP)) for n in sizes], axis=0)
    mean = [np.log(law.kmax), np.log(law.n0), law.a, law.b]
    theta = rng.multivariate_normal(mean, np.linalg.inv(evidence), method="eigh")
    return PivotCoefficients(float(np.exp(theta[0])), float(np.exp(theta[1])), float(theta[2]), float(theta[3]))


def designs(model: DesignModel, sizes: list[float]) -> dict[str, list[Runs]]:
    """What is compared, by name."""
    return {
        "full grid, 3 seeds": [Runs(n, LAST_STEP, 3) for n in sizes],
        "full grid, 1 seed": [Runs(n, LAST_STEP, 1) for n in sizes],
        "26 steps each": [Runs(n, 26, 1) for n in sizes],
        "designed": final_runs(buy(model, sizes, BUDGET, price)),
        "designed, target steps": final_runs(buy(model, sizes, BUDGET, price, target_steps=True)),
    }


def draw_truth(line: LineModel, rng: np.random.Generator) -> LineModel:
    """A size's own line, off the law."""
    level, slope = rng.standard_normal(2) * np.sqrt(np.diag(line.effects))
    return replace(line, level=line.level + level, slope=line.slope + slope)


def draw_points(truth: dict[float, LineModel], runs: list[Runs], study: int) -> Measurements:
    """The measurements of a design; run r of a size is the same run in every design, as far as it goes."""
    columns: dict[str, list[float]] = {"n": [], "x": [], "loss": [], "step": []}
    names: list[str] = []
    for entry in runs:
        line = truth[entry.n]
        for seed in range(entry.seeds):
            step, x = line.planned(entry.steps)
            own = np.random.default_rng([study, int(entry.n / 1e6), seed])
            whole, whole_x = line.planned(LAST_STEP)
            factor = np.linalg.cholesky(line.covariance(whole, whole_x))
            y = line.design(x) @ [line.level, line.slope] + (factor @ own.standard_normal(len(whole)))[: len(step)]
            columns["n"] += [entry.n] * len(step)
            columns["x"] += (10.0**x).tolist()
            columns["loss"] += np.minimum(10.0**y, 1.0).tolist()
            columns["step"] += step.tolist()
            names += [f"{entry.n:g}-{seed}"] * len(step)
    return measure(columns["n"], columns["x"], columns["loss"], names, step=columns["step"], unit="compute")


def forecast(points: Measurements, pilot: Pilot) -> tuple[float, float]:
    """log10 L of the target at its last step: weighted fit and the target's own steps; plain least squares."""
    others, own = points.where(points.n != TARGET), points.where(points.n == TARGET)
    model = model_of(points, pilot, fit_pivot(others, pilot))
    target = model.line(TARGET)
    end = np.array([target.step_x + np.log10(LAST_STEP)])
    mean = np.array([target.level, target.slope])
    if len(own):
        known = size_line(own, target)
        parts = [
            model.evidence(n, size_line(others.where(others.n == n), model.line(n)).information) for n in others.sizes
        ]
        mean = mean + model.covariance(np.sum(parts, axis=0), known.information) @ known.information @ (
            known.line - mean
        )
    plain = fit_law(others, LAWS["pivot"], Options()).parameters.predict([TARGET], end)
    return float(target.design(end)[0] @ mean), float(plain[0])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--table", type=Path, default=Path("tests/data/published/base_compute.csv"))
    given = parser.parse_args()
    published = read_group(given.table, Columns())[1]
    small = published.where(published.n < TARGET)
    pilot, sizes = Pilot.of(small), small.sizes.tolist()
    pilot = replace(pilot, law=fit_pivot(small, pilot))
    expected = model_of(small, pilot, pilot.law)
    compared = designs(expected, sizes)
    errors: dict[str, list[tuple[float, float]]] = {name: [] for name in compared}
    for study in range(given.studies):
        rng = np.random.default_rng(study)
        model = model_of(small, pilot, draw_law(expected, sizes, pilot.law, rng))
        truth = {n: draw_truth(model.line(n), rng) for n in [*sizes, TARGET]}
        line = truth[TARGET]
        end = float(line.design(np.array([line.step_x + np.log10(LAST_STEP)]))[0] @ [line.level, line.slope])
        for name, runs in compared.items():
            weighted, plain = forecast(draw_points(truth, runs, study), pilot)
            errors[name].append((weighted - end, plain - end))
    print(f"{given.studies} studies; error of log10 L of 72B at step {LAST_STEP}, root mean square")
    print(f"{'design':24} {'GPU-h':>6} {'weighted':>9} {'ratio':>6} {'plain':>8}  runs (size, steps, seeds)")
    reference = 0.0
    for name, runs in compared.items():
        weighted, plain = np.sqrt(np.mean(np.square(errors[name]), axis=0))
        reference = reference or weighted
        hours = sum(entry.seeds * price(entry.n, entry.steps) for entry in runs)
        listed = ", ".join(f"{entry.n / 1e9:g}B {entry.steps} {entry.seeds}" for entry in runs)
        print(f"{name:24} {hours:6.0f} {weighted:9.4f} {weighted / reference:6.3f} {plain:8.4f}  {listed}")


if __name__ == "__main__":
    main()
