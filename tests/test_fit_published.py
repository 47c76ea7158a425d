"""The published study's own points: coefficients, held-out error, reuse."""

from __future__ import annotations

import numpy as np
import pytest
from support import PUBLISHED

from tasks.fit.data.columns import Columns, resolve
from tasks.fit.data.groups import groups_of, reuse_groups
from tasks.fit.data.measurements import Measurements
from tasks.fit.data.table import read_table
from tasks.fit.laws import LAWS
from tasks.fit.solver.estimate import Options, fit_law
from tasks.fit.summary import published_fit
from tasks.fit.validation.backtest import held_out_largest
from tasks.fit.validation.findings import reuse_is_harmless
from tasks.fit.validation.reuse_effect import reuse_effects


def load(name: str) -> Measurements:
    table = read_table(PUBLISHED / name)
    return groups_of(table, resolve(table, Columns())[0])["base"]


@pytest.mark.parametrize(
    ("name", "kmax", "n0", "r2"),
    [("base_compute.csv", 0.13303, 1.3787e10, 0.9955), ("base_data.csv", 0.13995, 1.3007e10, 0.9957)],
)
def test_published_objective_gives_the_published_coefficients(name: str, kmax: float, n0: float, r2: float) -> None:
    points = load(name)
    fitted = fit_law(points, LAWS["saturating"], Options("linear"))
    found = fitted.parameters.coefficients()
    assert float(found["Kmax"]) == pytest.approx(kmax, rel=1e-3)
    assert float(found["N0"]) == pytest.approx(n0, rel=1e-3)
    rest = ((points.loss - 10**fitted.eta) ** 2).sum() / ((points.loss - points.loss.mean()) ** 2).sum()
    assert round(1 - rest, 4) == r2


def test_fit_without_72b_gives_the_coefficients_of_the_published_extrapolation() -> None:
    points = load("base_compute.csv")
    fitted = fit_law(points.where(points.n <= 32e9), LAWS["saturating"], Options("linear"))
    assert float(fitted.parameters.coefficients()["Kmax"]) == pytest.approx(0.15181, rel=1e-3)
    assert float(fitted.parameters.coefficients()["N0"]) == pytest.approx(1.7365e10, rel=1e-3)


@pytest.mark.parametrize(("name", "r2", "rmse"), [("base_compute.csv", 0.82, 0.0225), ("base_data.csv", 0.91, 0.0155)])
def test_72b_is_forecast_without_being_seen(name: str, r2: float, rmse: float) -> None:
    choice, test = held_out_largest(load(name), Options(), "base")
    assert choice is not None
    assert test is not None
    assert not test.level_refitted
    assert test.r2_linear is not None
    assert test.r2_linear >= r2
    assert test.rmse_log <= rmse
    assert test.last_low is not None
    assert test.last_high is not None
    assert test.last_low < 0.44 < test.last_high


def test_published_fits_are_found_for_the_published_sizes_only() -> None:
    points = load("base_data.csv")
    assert published_fit(points, "base") is not None
    assert published_fit(points, "other") is None
    assert published_fit(points.where(points.n < 72e9), "base") is None


def test_reuse_is_harmless_up_to_25_times_and_harmful_at_100() -> None:
    effects = reuse_effects(reuse_groups(read_table(PUBLISHED / "base_reuse.csv"))["base"], Options(), "base")
    assert [row.tau for row in effects] == [2, 5, 20, 25, 50, 100]
    findings = {finding.key: finding for finding in reuse_is_harmless(effects, "base")}
    assert findings["reuse_harmless_to_25"].verdict == "supported"
    assert findings["reuse_harm_at_100"].verdict == "supported"
    ratio = np.array([row.ratio.value for row in effects])
    assert (np.diff(ratio[1:5]) > 0).all()
