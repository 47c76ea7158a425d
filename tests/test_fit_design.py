"""Which runs to buy, and which to stop: formulas against brute force, and the command."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from support import REPOSITORY
from typer.testing import CliRunner

from flows.cli.main import build_app
from tasks.fit.data.measurements import Floats, measure
from tasks.fit.design.dominance import Curve, forecast_ends, shrinkage
from tasks.fit.design.greedy import Runs, buy, final_runs, step_ladder
from tasks.fit.design.information import PRIOR_SPREAD, RUN_LEVEL, DesignModel, LineModel, PivotCoefficients
from tasks.fit.design.weighted_fit import Pilot, fit_pivot, size_line
from tasks.fit.forecasting.misfit import binomial_variance, misfit_covariance
from tasks.study.errors import InputError
from tasks.study.grid import expand_grid
from tasks.study.params import load_params

PUBLISHED = REPOSITORY / "tests" / "data" / "published"
LAW = PivotCoefficients(0.13, 1.2e10, 8.0, 0.8)
NOISE = 5e-4


def line(n: float) -> LineModel:
    return LAW.line(n, float(np.log10(6 * n * 4e6)), 18.0, NOISE)


MODEL = DesignModel(line, 72e9, 60)


def sd(runs: list[Runs]) -> float:
    """Standard deviation of the target's loss after some runs."""
    own = sum((r.seeds * line(r.n).information(r.steps) for r in runs if r.n == MODEL.target), np.zeros((2, 2)))
    others = [MODEL.evidence(r.n, r.seeds * line(r.n).information(r.steps)) for r in runs if r.n != MODEL.target]
    return float(np.sqrt(MODEL.variance(np.sum([np.zeros((4, 4)), *others], axis=0), own)))


def brute_force(runs: list[Runs]) -> float:
    """The same by conditioning the joint Gaussian of theta, the sizes' effects and every point."""
    sizes = sorted({entry.n for entry in runs} | {MODEL.target})
    prior = np.zeros((4 + 2 * len(sizes),) * 2)
    prior[:4, :4] = np.diag(np.square(PRIOR_SPREAD))
    for index, n in enumerate(sizes):
        prior[4 + 2 * index : 6 + 2 * index, 4 + 2 * index : 6 + 2 * index] = line(n).effects

    def rows(n: float, x: Floats) -> Floats:
        """log10 L on a size's line, by (theta, effects)."""
        out = np.zeros((len(x), len(prior)))
        design = line(n).design(x)
        out[:, :4] = design @ line(n).gradient
        out[:, 4 + 2 * sizes.index(n) : 6 + 2 * sizes.index(n)] = design
        return out

    maps, noises = [], []
    for entry in runs:
        model = line(entry.n)
        step = np.arange(1.0, entry.steps + 1)
        x = model.step_x + np.log10(step)
        loss = 10.0 ** (model.level - model.slope * (x - model.center))
        noise = model.slope**2 * misfit_covariance(step) + np.diag(NOISE * binomial_variance(np.minimum(loss, 1.0)))
        for _ in range(entry.seeds):
            maps.append(rows(entry.n, x))
            noises.append(noise + (RUN_LEVEL * model.level) ** 2)
    design = np.concatenate(maps)
    noise = np.zeros((len(design),) * 2)
    start = 0
    for block in noises:
        noise[start : start + len(block), start : start + len(block)] = block
        start += len(block)
    end = rows(MODEL.target, np.array([line(MODEL.target).step_x + np.log10(MODEL.last_step)]))[0]
    gain = prior @ design.T @ np.linalg.inv(design @ prior @ design.T + noise)
    return float(np.sqrt(end @ (prior - gain @ design @ prior) @ end))


@pytest.mark.parametrize(
    "runs",
    [
        [Runs(5e8, 20, 2), Runs(7e9, 12, 1), Runs(3.2e10, 6, 1)],
        [Runs(1.5e9, 30, 1), Runs(1.4e10, 10, 3), Runs(72e9, 8, 1)],
        [Runs(3e9, 1, 1)],
    ],
)
def test_the_information_formula_is_the_conditioning_of_the_joint_gaussian(runs: list[Runs]) -> None:
    assert sd(runs) == pytest.approx(brute_force(runs), rel=1e-6)


def test_more_of_anything_never_hurts() -> None:
    runs = [Runs(5e8, 10, 1), Runs(7e9, 10, 1), Runs(3.2e10, 10, 1)]
    for index, entry in enumerate(runs):
        for more in (Runs(entry.n, 20, 1), Runs(entry.n, 10, 2)):
            assert sd([*runs[:index], more, *runs[index + 1 :]]) < sd(runs)
    assert sd([*runs, Runs(72e9, 5, 1)]) < sd(runs)


@pytest.mark.parametrize("budget", [3.0, 10.0])
def test_greedy_purchases_come_close_to_the_best_of_all_that_the_budget_buys(budget: float) -> None:
    sizes, ladder = [1.5e9, 7e9, 3.2e10], step_ladder(MODEL.last_step, 1.3)
    seconds = {n: n / 3.2e10 for n in sizes}
    ways = [[Runs(n, 0, 0), *(Runs(n, steps, seeds) for steps in ladder for seeds in (1, 2))] for n in sizes]
    best = min(
        sd([entry for entry in runs if entry.seeds])
        for runs in itertools.product(*ways)
        if sum(entry.seeds * entry.steps * seconds[entry.n] for entry in runs) <= budget
    )
    bought = buy(MODEL, sizes, budget, lambda n, steps: steps * seconds[n])
    assert bought[-1].total <= budget
    assert bought[-1].after == pytest.approx(sd(final_runs(bought)))
    assert bought[-1].after <= 1.1 * best
    assert [entry.before for entry in bought[1:]] == [entry.after for entry in bought[:-1]]


def test_the_weighted_fit_finds_the_law_of_its_sizes_and_weighs_a_size_by_what_it_carries() -> None:
    rng = np.random.default_rng(3)
    columns: dict[str, list[float]] = {"n": [], "x": [], "loss": [], "step": []}
    for n in (5e8, 1.5e9, 3e9, 7e9, 1.4e10, 3.2e10):
        step, x = line(n).planned(60)
        y = line(n).design(x) @ [line(n).level, line(n).slope] + 1e-4 * rng.standard_normal(60)
        for name, values in (("n", [n] * 60), ("x", 10.0**x), ("loss", np.minimum(10.0**y, 1.0)), ("step", step)):
            columns[name] += list(values)
    points = measure(columns["n"], columns["x"], columns["loss"], step=columns["step"], unit="compute")
    pilot = Pilot.of(points)
    found = fit_pivot(points, pilot)
    assert found.kmax == pytest.approx(LAW.kmax, rel=0.05)
    assert found.n0 == pytest.approx(LAW.n0, rel=0.1)
    own = size_line(points.where(points.n == 7e9), line(7e9))
    np.testing.assert_allclose(own.line, [line(7e9).level, line(7e9).slope], rtol=0.02)
    np.testing.assert_allclose(own.information, line(7e9).information(60), rtol=0.05)


def made_curve(level: float, k: float, upto: float, rng: np.random.Generator, noise: float = 0.004) -> Curve:
    step = np.arange(1.0, round(100 * upto) + 1)
    x = np.log10(step / 100)
    return Curve(step, x, level - k * x + noise * rng.standard_normal(len(step)), 100.0)


def test_ends_are_those_of_the_joint_gaussian_with_slopes_about_a_common_mean() -> None:
    rng = np.random.default_rng(5)
    curves = [made_curve(-0.2, 0.10, 0.3, rng), made_curve(-0.25, 0.12, 0.3, rng), made_curve(-0.1, 0.05, 0.2, rng)]
    ends = forecast_ends(curves)
    differences = [np.diff(c.y) - np.polyfit(c.x, c.y, 1)[0] * np.diff(c.x) for c in curves]
    white = float(np.mean(np.concatenate(differences) ** 2)) / 2
    scale = [-float(np.polyfit(c.x, c.y, 1)[0]) for c in curves]
    covariances = [
        k**2 * misfit_covariance(c.step) + white * np.eye(len(c.x)) for k, c in zip(scale, curves, strict=True)
    ]
    variance, slope = [], []
    for c, covariance in zip(curves, covariances, strict=True):
        design = np.stack([np.ones(len(c.x)), -c.x], axis=1)
        spread = np.linalg.inv(design.T @ np.linalg.solve(covariance, design))
        variance.append(spread[1, 1])
        slope.append((spread @ design.T @ np.linalg.solve(covariance, c.y))[1])
    mean, between = shrinkage(np.array(slope), np.array(variance))
    assert between >= (0.2 * mean) ** 2 * 0.999
    # Unknowns: levels (flat), the mean slope (flat), each slope about it, the misfit at each end.
    flat, count = 1e4, len(curves)
    prior = np.diag([flat] * count + [flat] + [between] * count)
    starts = np.cumsum([0, *(len(c.x) for c in curves)])
    total = np.zeros((starts[-1], starts[-1]))
    design, cross, own = np.zeros((starts[-1], 2 * count + 1)), np.zeros((starts[-1], count)), np.zeros(count)
    ahead = np.zeros((count, 2 * count + 1))
    for i, c in enumerate(curves):
        part = slice(starts[i], starts[i + 1])
        total[part, part] = covariances[i]
        design[part, i], design[part, count], design[part, count + 1 + i] = 1.0, -c.x, -c.x
        cross[part, i] = scale[i] ** 2 * misfit_covariance(c.step, [100.0])[:, 0]
        own[i], ahead[i, i] = scale[i] ** 2 * 0.01, 1.0
    together = design @ prior @ design.T + total
    toward = design @ prior @ ahead.T + cross
    y = np.concatenate([c.y for c in curves])
    np.testing.assert_allclose(ends.mean, toward.T @ np.linalg.solve(together, y), atol=1e-4)
    expected = ahead @ prior @ ahead.T + np.diag(own) - toward.T @ np.linalg.solve(together, toward)
    np.testing.assert_allclose(ends.covariance, expected, rtol=0.02, atol=2e-6)


def test_chances_are_kept_stopped_candidates_rarely_would_have_won() -> None:
    """Of candidates whose lines are equal in law, those given a chance below 5 % end lowest in fewer than 5 %."""
    rng = np.random.default_rng(11)
    stopped = won = 0
    for _ in range(300):
        k = 0.1 * (1.0 + 0.2 * rng.standard_normal(4))
        level = -0.2 + 0.02 * rng.standard_normal(4)
        step = np.arange(1.0, 101)
        factor = np.linalg.cholesky(misfit_covariance(step) + 1e-9 * np.eye(100))
        x = np.log10(step / 100)
        truth = [level[i] - k[i] * x + k[i] * (factor @ rng.standard_normal(100)) for i in range(4)]
        seen = [Curve(step[:30], x[:30], y[:30] + 0.005 * rng.standard_normal(30), 100.0) for y in truth]
        below = forecast_ends(seen).chances() < 0.05
        stopped += below.sum()
        won += below[np.argmin([y[-1] for y in truth])]
    assert stopped > 200
    assert won / stopped < 0.05


def test_replayed_on_the_published_sizes_nothing_is_lost_at_60_percent_of_the_cost() -> None:
    answer = run("--replay", str(PUBLISHED / "base_compute.csv"), "--json")
    result = json.loads(answer)
    assert result["regret"] == result["worst"] == 0.0
    assert result["cost"] <= 0.6
    assert len(result["outcomes"]) == 6
    assert all(min(row["trained"].values()) >= 0.25 for row in result["outcomes"])
    table = run("--replay", str(PUBLISHED / "base_reuse.csv"), "--compare", "tau")
    assert "mean regret" in table


def run(*arguments: str) -> str:
    answer = CliRunner().invoke(build_app(), ["design", *arguments], catch_exceptions=False)
    assert answer.exit_code == 0
    return answer.output


def test_a_written_design_is_a_study_of_the_bought_runs(tmp_path: Path) -> None:
    file = tmp_path / "params.next.yaml"
    goal = [
        "--target-n",
        "72e9",
        "--target-x",
        "2.2e20",
        "--budget",
        "60gpu-h",
        "--from-scratch",
        "--allow-target-steps",
    ]
    base = ["--params", str(REPOSITORY / "params.paper.yaml"), "--write", str(file)]
    result = json.loads(run(str(PUBLISHED / "base_compute.csv"), *goal, *base, "--json"))
    params = load_params(file)
    assert params.study.name == "next"
    assert params.train.steps == result["last_step"]
    wanted = {(f"{entry['n'] / 1e9:g}B", entry["steps"]): entry["seeds"] for entry in result["runs"]}
    runs = expand_grid(params)
    assert {(r.size, r.steps): sum((r.size, r.steps) == (o.size, o.steps) for o in runs) for r in runs} == wanted
    assert any(entry["n"] == 72e9 and entry["steps"] <= result["last_step"] / 2 for entry in result["runs"])
    assert result["after"] < result["before"]
    assert sum(entry["cost"] for entry in result["purchases"]) <= 60
    raw = yaml.safe_load(file.read_text())
    assert raw["prepare"] == yaml.safe_load((REPOSITORY / "params.paper.yaml").read_text())["prepare"]


def test_runs_that_are_there_count_and_new_seeds_go_on_after_them(tmp_path: Path) -> None:
    file = tmp_path / "params.more.yaml"
    header, *rows = (PUBLISHED / "base_compute.csv").read_text().splitlines()
    begun = tmp_path / "begun.csv"
    begun.write_text("\n".join([header, *(row for row in rows if int(row.split(",")[3]) <= 12)]) + "\n")
    goal = ["--target-n", "72B", "--target-x", "2e20", "--budget", "100gpu-h", "--sizes", "7B,14B,32B"]
    base = ["--params", str(REPOSITORY / "params.paper.yaml"), "--write", str(file)]
    result = json.loads(run(str(begun), *goal, *base, "--json"))
    assert set(result["owned"].values()) == {1}
    entries = load_params(file).grid.runs
    assert {entry.size for entry in entries} <= {"7B", "14B", "32B"}
    assert all(entry.seeds[0] == 1 for entry in entries)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--budget", "3gpu-h"], "give --target-n"),
        (["--target-n", "72B", "--target-x", "1e10", "--budget", "3gpu-h"], "less than two steps"),
        (["--target-n", "72B", "--target-x", "1e20", "--budget", "1e-6gpu-h"], "buys no 4 steps of any"),
        (["--target-n", "72B", "--target-x", "1e20", "--budget", "3"], "expected a positive number with unit"),
    ],
)
def test_an_impossible_design_is_refused_in_one_sentence(arguments: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        CliRunner().invoke(
            build_app(), ["design", str(PUBLISHED / "base_compute.csv"), *arguments], catch_exceptions=False
        )
