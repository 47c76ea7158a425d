"""Verdicts on the published claims follow the data, in both directions and in none."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from support.fit_examples import SIZES, k_of, pivot_points

from tasks.fit.analysis import analyze
from tasks.fit.data.measurements import Measurements, measure
from tasks.fit.laws import LAWS
from tasks.fit.solver.estimate import Options, fit_law
from tasks.fit.uncertainty.inference import BootstrappedFit, with_draws
from tasks.fit.uncertainty.profile import profile_intervals
from tasks.fit.validation.findings import larger_is_better, law_holds, learning_grows, pair_effects, reuse_is_harmless
from tasks.fit.validation.flags import flags_of
from tasks.fit.validation.reuse_effect import reuse_effects
from tasks.fit.validation.saturation import saturation_test
from tasks.records.findings import ReuseEffect
from tasks.records.fits import Estimate, SaturationTest
from tasks.records.json_files import to_json

OPTIONS = Options(draws=400)


def fitted(points: Measurements, law: str = "saturating") -> BootstrappedFit:
    return with_draws(fit_law(points, LAWS[law], OPTIONS))


def saturation_of(points: Measurements) -> SaturationTest:
    fit = fitted(points)
    return saturation_test(fit, profile_intervals(fit), "base")


def power_points(seed: int = 0) -> Measurements:
    """k = 2e-6 N^0.44: grows without saturating."""
    points = pivot_points(runs=3, seed=seed)
    noise = np.random.default_rng(seed).normal(0, 0.004, len(points))
    y = -2e-6 * points.n**0.44 * (points.x - 1.5) + noise
    names = [points.runs[run] for run in points.run]
    return measure(points.n, points.resource, np.minimum(10**y, 1), names, step=points.step, unit="data")


def flat_points() -> Measurements:
    points = pivot_points(runs=3)
    noise = np.random.default_rng(1).normal(0, 0.004, len(points))
    names = [points.runs[run] for run in points.run]
    return measure(
        points.n, points.resource, 10 ** (-0.05 * (points.x - 2) + noise), names, step=points.step, unit="data"
    )


def test_saturation_is_found_where_k_saturates() -> None:
    test = saturation_of(pivot_points(noise=0.004, runs=3, effect=0.003, steps=80))
    assert (test.growth, test.verdict) == ("supported", "supported")


def test_saturation_is_rejected_where_k_is_a_power_of_size() -> None:
    test = saturation_of(power_points())
    assert test.growth == "supported"
    assert test.verdict == "contradicted"


def test_saturation_stays_undecided_where_k_does_not_grow() -> None:
    test = saturation_of(flat_points())
    assert test.growth == "undecided"
    assert test.verdict == "undecided"
    assert "not shown to grow" in test.reason


def test_larger_models_are_found_better_where_loss_falls_with_size() -> None:
    alone = fitted(pivot_points(noise=0.004, runs=3, steps=80), "loglinear")
    finding = larger_is_better(alone, "base")
    assert finding.verdict == "supported"
    assert finding.effect.value is not None
    assert finding.effect.value < 0
    assert len(pair_effects(alone, "base")) == len(SIZES) - 1


def test_larger_models_are_not_found_better_where_loss_rises_with_size() -> None:
    points = pivot_points(noise=0.004, runs=3)
    names = [points.runs[run] for run in points.run]
    turned = measure(SIZES[::-1][points.size], points.resource, points.loss, names, step=points.step, unit="data")
    assert larger_is_better(fitted(turned, "loglinear"), "base").verdict == "contradicted"


def test_law_is_contradicted_by_noise_alone() -> None:
    rng = np.random.default_rng(2)
    points = pivot_points(runs=3)
    names = [points.runs[run] for run in points.run]
    noise = measure(points.n, points.resource, rng.uniform(0.2, 0.9, len(points)), names, step=points.step, unit="data")
    assert law_holds(fitted(noise), fitted(noise, "loglinear"), "base").verdict == "contradicted"
    points = pivot_points(noise=0.004, runs=3)
    assert law_holds(fitted(points), fitted(points, "loglinear"), "base").verdict == "supported"


def test_law_is_contradicted_where_training_raises_the_loss_however_well_lines_fit() -> None:
    points = pivot_points(noise=0.004, runs=3)
    names = [points.runs[run] for run in points.run]
    loss = 0.1 / points.loss  # the same lines, rising
    worse = measure(points.n, points.resource, loss, names, step=points.step, unit="data")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rising = fitted(worse)
        assert profile_intervals(rising)["Kmax"].low is None
    finding = law_holds(rising, fitted(worse, "loglinear"), "instruct")
    assert finding.effect.value is not None
    assert finding.effect.value > 0.95
    assert finding.verdict == "contradicted"
    assert finding.reason.startswith("k is negative, loss rises with data, at 500M, 1.5B")


def test_growth_of_k_is_reported_with_its_interval() -> None:
    points = pivot_points(noise=0.004, runs=3, steps=80)
    grows, saturates = learning_grows(fitted(points, "loglinear"), saturation_of(points))
    truth = k_of(72e9) - k_of(0.5e9)
    assert grows.effect.low is not None
    assert grows.effect.high is not None
    assert grows.effect.low < truth < grows.effect.high
    assert saturates.claim == 3


def effect(tau: float, low: float, high: float) -> ReuseEffect:
    ratio = Estimate((low + high) / 2, low, high)
    return ReuseEffect("base", tau, ratio, ratio, ratio)


@pytest.mark.parametrize(
    ("rows", "verdicts"),
    [
        ([effect(10, 0.98, 1.02), effect(100, 1.03, 1.2)], ("supported", "supported")),
        ([effect(10, 1.06, 1.2), effect(100, 0.98, 1.02)], ("contradicted", "contradicted")),
        ([effect(10, 0.9, 1.2), effect(100, 0.9, 1.2)], ("undecided", "undecided")),
    ],
)
def test_reuse_verdicts_follow_the_intervals(rows: list[ReuseEffect], verdicts: tuple[str, str]) -> None:
    assert tuple(finding.verdict for finding in reuse_is_harmless(rows, "base")) == verdicts


def test_reuse_effect_is_recovered_and_several_seeds_set_its_width() -> None:
    scale = pivot_points(noise=0.004, runs=3, effect=0.01, steps=50)
    n, step, loss = [], [], []
    for tau in (1.0, 10.0, 100.0):
        for s in range(1, 51):
            n.append(tau)
            step.append(s)
            loss.append(10 ** (-0.1 * np.log10(s) - 0.1 + (0.03 if tau == 100 else 0.0)))
    points = measure(n, step, loss, unit="step")
    rows = reuse_effects(points, OPTIONS, "base", scale, 7e9)
    assert rows[0].overall.value == pytest.approx(0.0, abs=1e-9)
    assert rows[1].final.value == pytest.approx(0.03, abs=1e-9)
    width = (rows[1].final.high or 0) - (rows[1].final.low or 0)
    # A run's level varies by about 0.01, the difference of two by 0.014: at least 2 x 2 x 0.014 wide at 95 %.
    assert 0.03 < width < 0.15
    alone = reuse_effects(points, OPTIONS, "base")
    assert (alone[1].final.high or 0) - (alone[1].final.low or 0) < 0.01


def test_flags_tell_of_single_runs_few_sizes_and_an_open_n0() -> None:
    few = pivot_points(noise=0.002)
    fit = fitted(few.where(few.n < 2e9))
    codes = {flag.code for flag in flags_of(fit, profile_intervals(fit), fitted(fit.result.points, "loglinear"))}
    assert {"one_run_per_size", "few_sizes", "n0_unidentified"} <= codes
    good = fitted(pivot_points(noise=0.002, runs=3, steps=80))
    alone = fitted(good.result.points, "loglinear")
    assert "n0_unidentified" not in {flag.code for flag in flags_of(good, profile_intervals(good), alone)}


def test_profile_interval_holds_the_truth_and_is_open_where_k_is_linear_in_size() -> None:
    inside = profile_intervals(fitted(pivot_points(noise=0.004, runs=3, effect=0.004, steps=80)))
    assert inside["Kmax"].low is not None
    assert inside["Kmax"].high is not None
    assert inside["Kmax"].low < 0.14 < inside["Kmax"].high
    points = pivot_points(runs=2)
    noise = np.random.default_rng(0).normal(0, 0.004, len(points))
    y = -1.5e-12 * points.n * (points.x - 2) + noise
    names = [points.runs[run] for run in points.run]
    linear = measure(points.n, points.resource, np.minimum(10**y, 1), names, step=points.step, unit="data")
    assert profile_intervals(fitted(linear))["N0"].high is None


def test_analysis_of_points_is_plain_json_and_repeats_itself() -> None:
    points = pivot_points(noise=0.004, runs=2, steps=20)
    one, two = (analyze(points, "base", "saturating", ["loglinear", "pivot"], Options(draws=100)) for _ in range(2))
    assert to_json(one.fits) == to_json(two.fits)
    assert to_json(one.tests) == to_json(two.tests)
    assert {fit.law for fit in one.fits} == {"saturating", "loglinear", "pivot"}
    assert [fit.law for fit in one.fits if fit.primary] == ["saturating"]


def test_runs_evaluated_now_and_then_have_a_reuse_effect() -> None:
    steps = np.arange(4, 37, 4)
    tau = np.repeat([1.0, 4.0], len(steps))
    points = measure(tau, np.tile(steps, 2), 0.9 * np.tile(steps, 2) ** -0.5 * tau**0.1, step=np.tile(steps, 2))
    (row,) = reuse_effects(points, OPTIONS, "instruct")
    assert row.ratio.value == pytest.approx(4**0.1)
