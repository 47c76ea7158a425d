"""Intervals that say what the points say: curves, short runs, scatter of sizes, open ends; flags, choice of law."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.fit_examples import N0, SIZES, k_of, pivot_points

from tasks.fit.analysis import to_estimate
from tasks.fit.data.averaging import FEW_ROWS, averaged, thinned
from tasks.fit.data.measurements import Measurements, measure
from tasks.fit.forecasting.law_choice import pick_law, supported
from tasks.fit.laws import LAWS
from tasks.fit.solver.estimate import Options, fit_law
from tasks.fit.summary import Summary, summarize
from tasks.fit.uncertainty.blocks import block_scores
from tasks.fit.uncertainty.inference import BootstrappedFit, coefficient_intervals, interval, with_draws
from tasks.fit.validation.flags import initial_models_flag
from tasks.fit.validation.saturation_power import chance_of_support
from tasks.records.fits import Estimate
from tasks.records.format import bounds

OPTIONS = Options(draws=400)
NINE = [
    (n, x, loss, run)
    for run, n, losses in (("a", 1e9, (0.6, 0.52, 0.4)), ("b", 2e9, (0.55, 0.45, 0.36)), ("c", 4e9, (0.5, 0.35, 0.3)))
    for x, loss in zip((1e18, 1e19, 1e20), losses, strict=True)
]


def table(rows: list[tuple[float, float, float, str]]) -> Measurements:
    n, x, loss, runs = (list(column) for column in zip(*rows, strict=True))
    return measure(n, x, loss, runs)


def additive_points(seed: int) -> Measurements:
    """24 points of 4 sizes, L = 0.18 + 150 / N^0.394 + 60 / X^0.13 with 0.2 % noise."""
    noise = np.random.default_rng(seed)
    rows = []
    for n in (1e8, 4e8, 1.6e9, 6.4e9):
        for x in np.geomspace(1e17, 1e20, 6):
            loss = 0.18 + 150 / n**0.394 + 60 / x**0.13
            rows.append((n, float(x), loss * (1 + 0.002 * noise.standard_normal()), f"{n:g}"))
    return table(rows)


def bending_points(seed: int = 0) -> Measurements:
    """Five sizes that fall for some 20 steps and then stay."""
    noise, step = np.random.default_rng(seed), np.arange(1, 61)
    columns = []
    for n, start, floor in (
        (6e8, 0.8, 0.45),
        (2e9, 0.6, 0.22),
        (4e9, 0.5, 0.12),
        (8e9, 0.35, 0.09),
        (1.4e10, 0.3, 0.06),
    ):
        y = np.log10(floor + (start - floor) * np.exp(-step / 15)) + 0.01 * noise.standard_normal(len(step))
        columns.append((np.full(len(step), n), 6 * n * 1e6 * step, 10**y, step))
    n_column, x, loss, steps = (np.concatenate(column) for column in zip(*columns, strict=True))
    return measure(n_column, x, loss, step=steps)


def with_seventh_size(losses: np.ndarray) -> Measurements:
    """Three sizes that learn and one with these losses at steps 1, 2, ..."""
    noise, step = np.random.default_rng(0), np.arange(1, len(losses) + 1)
    rows = [
        (n, 6 * n * 1e6 * s, 0.9 * s**-k * (1 + 0.01 * noise.standard_normal()), f"{n:g}")
        for n, k in ((5e8, 0.05), (1.5e9, 0.07), (3e9, 0.09))
        for s in step
    ]
    return table([*rows, *((7e9, 6 * 7e9 * 1e6 * s, float(loss), "7e9") for s, loss in zip(step, losses, strict=True))])


def drawn(points: Measurements, law: str = "saturating", options: Options = OPTIONS) -> BootstrappedFit:
    return with_draws(fit_law(points, LAWS[law], options))


def codes(summary: Summary) -> set[str]:
    return {flag.code for flag in summary.fit.flags}


def test_intervals_of_a_curve_are_as_wide_as_its_estimates_scatter() -> None:
    fits = [fit_law(additive_points(seed), LAWS["additive"], OPTIONS) for seed in range(12)]
    inside = [coefficient_intervals(with_draws(fit)) for fit in fits]
    for name, truth in (("alpha", 0.394), ("E", 0.18), ("beta", 0.13)):
        spread = np.std([fit.parameters.coefficients()[name] for fit in fits])
        width = np.median([row[name].high95 - row[name].low95 for row in inside])
        assert 2.5 < width / spread < 7.5
        assert sum(row[name].low95 < truth < row[name].high95 for row in inside) >= 9


def test_blocks_of_a_bent_series_leave_the_center_where_it_is() -> None:
    x = np.linspace(0.0, 1.0, 60)
    bent = (x - 0.5) ** 2 - 1 / 12
    draws = block_scores(x, bent, np.ones(60), np.stack([np.ones(60), x - 0.5], axis=1), np.random.default_rng(0), 4000)
    assert np.abs(draws.mean(axis=0) / draws.std(axis=0)).max() < 0.05


@pytest.mark.parametrize("count", [400, 8000])
def test_blocks_of_a_long_series_have_the_variance_of_its_mean(count: int) -> None:
    rng = np.random.default_rng(1)
    position, design = np.arange(count) / count, np.ones((count, 1)) / count
    noise = np.sqrt(count) * rng.standard_normal((12, count))
    drawn_means = [block_scores(position, series, np.ones(count), design, rng, 500) for series in noise]
    assert np.mean([means.var() for means in drawn_means]) == pytest.approx(1.0, rel=0.25)


def test_runs_of_one_name_are_told_apart_by_size() -> None:
    points = table([(n, x, loss, "0") for n, x, loss, _ in NINE])
    assert points.runs == ("0@1B", "0@2B", "0@4B")
    assert np.array_equal(points.run, points.size)
    alone = drawn(points, "loglinear").draws.k(points.sizes)
    assert (alone.std(axis=0) > 0).all()
    assert table(NINE).runs == ("a", "b", "c")


@pytest.mark.parametrize("law", ["saturating", "additive", "sigmoid", "pivot"])
def test_a_run_of_one_point_weighs_what_it_carries(law: str) -> None:
    points = table([*NINE, (4e9, 1e18, 0.51, "d")])
    fit = drawn(points, law)
    assert np.isfinite(fit.draws.predict([4e9], [20.0])).all()
    if law == "saturating":
        kmax = coefficient_intervals(fit)["Kmax"]
        assert 0.03 < kmax.low95 < 0.13 < kmax.high95 < 2


def test_six_runs_of_one_point_have_intervals() -> None:
    rows = [(n, x, loss, f"run {index}") for index, (n, x, loss, _) in enumerate(NINE)]
    kmax = coefficient_intervals(drawn(table(rows)))["Kmax"]
    assert kmax.low95 < 0.11 < kmax.high95


def test_a_short_run_hardly_moves_the_intervals_of_a_large_table() -> None:
    points = pivot_points(noise=0.006, runs=3, steps=20, effect=0.01)
    columns = [points.n, points.resource, points.loss, points.step]
    names = [points.runs[index] for index in points.run]
    last = np.flatnonzero(points.n == SIZES[-1])[:2]
    longer = [np.append(column, column[last]) for column in columns]
    more = measure(*longer[:3], [*names, "short", "short"], step=longer[3], unit="data")
    before, after = (coefficient_intervals(drawn(part))["Kmax"] for part in (points, more))
    assert after.high95 - after.low95 == pytest.approx(before.high95 - before.low95, rel=0.3)


def test_constant_loss_is_an_answer() -> None:
    summary = summarize(table([(n, x, 0.5, run) for n, x, _, run in NINE]), "all", "saturating", OPTIONS)
    assert summary.saturation is not None
    assert summary.saturation.growth == "undecided"
    assert summary.fit.coefficients["Kmax"].value == 0
    assert "no_learning" in codes(summary)


def test_rising_loss_is_flagged_at_its_own_size_only() -> None:
    step = np.arange(1, 21)
    summary = summarize(with_seventh_size(np.minimum(0.5 * step**0.2, 1.0)), "all", "saturating", OPTIONS)
    rising = next(flag for flag in summary.fit.flags if flag.code == "rising_loss")
    assert "size 7B" in rising.text
    assert "no_learning" not in codes(summary)


def test_a_run_that_collapses_is_flagged() -> None:
    step = np.arange(1, 21)
    losses = np.where(step < 13, 0.5 * step**-0.05, 0.45 + 0.55 * (step - 12) / 8)
    summary = summarize(with_seventh_size(losses), "all", "saturating", OPTIONS)
    late = [flag.text for flag in summary.fit.flags if flag.code == "rises_late"]
    assert len(late) == 1
    assert "size 7B" in late[0]


def test_the_points_reject_lines_where_runs_bend_and_another_law_is_taken() -> None:
    points = bending_points()
    assert "rejected" in codes(summarize(points, "all", "saturating", OPTIONS))
    picked = pick_law(points, None, points.sizes, OPTIONS)
    assert picked.law.name != "saturating"
    assert picked.law.name in picked.reason
    assert pick_law(points, "pivot", points.sizes, OPTIONS).law.name == "pivot"


def test_the_default_law_stays_where_nothing_errs_much_less() -> None:
    points = pivot_points(noise=0.01, steps=60)
    assert "rejected" not in codes(summarize(points, "all", "saturating", OPTIONS))
    assert pick_law(points, None, points.sizes, OPTIONS).law.name == "saturating"
    assert pick_law(points, None, [1e12], OPTIONS).law.name == "pivot"
    assert supported({"pivot": 1.0, "additive": 0.81, "floor_shared": None}, "pivot") == "pivot"
    assert supported({"pivot": 1.0, "additive": 0.79, "floor_shared": None}, "pivot") == "additive"
    assert supported({"pivot": None, "additive": 0.79}, "pivot") == "additive"
    assert supported({"pivot": None}, "pivot") is None


def test_ends_of_a_search_are_no_ends_of_an_interval() -> None:
    # k is the same at every size up to noise: N0 lies anywhere below them.
    noise = np.random.default_rng(0)
    rows = [
        (float(n), 512.0 * s, 10 ** (-0.1 * np.log10(512 * s) + 0.01 * noise.standard_normal()), f"{n:g}")
        for n in SIZES
        for s in range(1, 31)
    ]
    n0 = to_estimate(coefficient_intervals(drawn(table(rows)))["N0"])
    assert n0.low is None
    assert bounds(n0).startswith("below ") or bounds(n0) == ""
    few = coefficient_intervals(drawn(table(NINE), "additive"))
    assert to_estimate(few["A"]).low is None


def test_intervals_are_worded_and_take_infinite_draws() -> None:
    half = np.r_[np.full(50, np.inf), np.linspace(1, 2, 950)]
    ends = interval(1.5, half)
    assert np.isposinf(ends.high95)
    assert ends.low95 == pytest.approx(np.quantile(half[50:], 0.025 * 1000 / 950), rel=0.01)
    assert bounds(Estimate(1.0, 0.5, None)) == "above 0.5"
    assert bounds(Estimate(1.0, None, 2.0)) == "below 2"
    assert bounds(Estimate(1.0), missing="not determined") == "not determined"


def scattered(points: Measurements, share: float) -> Measurements:
    """The same points with each size's slope off by a share (one standard deviation), about its middle."""
    rng = np.random.default_rng(3)
    y = points.y.copy()
    for index, size in enumerate(points.sizes):
        own = points.size == index
        y[own] -= share * rng.standard_normal() * float(k_of(size)) * (points.x[own] - points.x[own].mean())
    return replace(points, loss=10.0**y)


def test_scatter_of_sizes_is_found_and_widens_the_law_not_the_sizes() -> None:
    exact = pivot_points(noise=0.002, runs=2, steps=40)
    moved = scattered(exact, 0.3)
    shares = [np.median(drawn(part).lines.size_slope / k_of(SIZES)) for part in (exact, moved)]
    assert shares[0] < 0.05
    assert 0.1 < shares[1] < 0.6
    widths = [np.ptp(np.quantile(drawn(part).draws.k([SIZES[-1]]), [0.025, 0.975])) for part in (exact, moved)]
    assert widths[1] > 3 * widths[0]
    assert not drawn(moved, "loglinear").lines.size_slope.any()


def test_scatter_takes_power_from_the_verdict_on_saturation() -> None:
    exact = pivot_points(noise=0.004, runs=3, effect=0.003, steps=80)
    chances = []
    for part in (exact, scattered(exact, 0.3)):
        test = summarize(part, "all", "saturating", OPTIONS).saturation
        assert test is not None
        assert test.power is not None
        assert "of studies" in test.reason
        chances.append(test.power)
    assert chances[0] > 0.8
    assert chances[1] < 0.5
    fit = drawn(exact)
    assert chance_of_support(fit, (1e-4, 10.0), 1e-4) == chance_of_support(fit, (1e-4, 10.0), 1e-4)
    few = drawn(exact.where(exact.n < 4e9))
    assert chance_of_support(few, (1e-4, 10.0), 1e-4) is None


def test_a_large_table_gives_the_fit_of_all_its_rows() -> None:
    large = pivot_points(noise=0.02, runs=3, steps=300)
    assert len(large) > FEW_ROWS
    few = averaged(large)
    assert len(few) < 1000
    assert few.count is not None
    assert few.count.sum() == len(large)
    for law in ("floor_shared", "additive"):
        searched = fit_law(large, LAWS[law], OPTIONS)
        # The same rows in two tables that are small enough to be searched from every start.
        halves = [fit_law(large.where(large.step % 3 == rest), LAWS[law], OPTIONS).parameters for rest in (0, 1, 2)]
        values = [float(((large.y - half.predict(large.n, large.x)) ** 2).sum()) for half in halves]
        assert searched.value <= min(values)
    line = fit_law(few, LAWS["saturating"]).parameters.coefficients()["N0"]
    assert line == pytest.approx(N0, rel=0.3)
    assert averaged(few) is few
    assert len(thinned(large, 100)) == 100


@pytest.mark.parametrize(
    ("models", "words"), [([1, 1], "every size has"), ([1, 3, 3], "1 of 3 sizes have"), ([2, 2], "")]
)
def test_studies_of_one_initial_model_say_what_their_intervals_leave_out(models: list[int], words: str) -> None:
    flag = initial_models_flag(models)
    assert (flag is not None) == bool(words)
    assert flag is None or flag.text.startswith(words)
