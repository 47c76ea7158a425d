"""Every law recovers its own numbers, and every analytic Jacobian is the derivative."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from support.fit_examples import SIZES, pivot_points

from tasks.fit.data.measurements import Measurements, measure
from tasks.fit.laws import LAWS, law_named
from tasks.fit.laws.forms import CurveLaw, LineLaw
from tasks.fit.solver.estimate import Options, fit_law
from tasks.fit.solver.variable_projection import line_coefficients
from tasks.study.errors import InputError

X = 512.0 * np.arange(1, 61)


def points_from(losses: dict[float, np.ndarray]) -> Measurements:
    n = np.repeat(list(losses), len(X))
    return measure(n, np.tile(X, len(losses)), np.concatenate(list(losses.values())), unit="data")


def saturating(n: float) -> np.ndarray:
    return 10 ** (-0.14 / (1 + 1.3e10 / n) * np.log10(X) - 0.002 * np.log10(n))


def power(n: float) -> np.ndarray:
    return 10 ** (-3e-6 * n**0.4 * np.log10(X) - 0.01)


def pivot(n: float) -> np.ndarray:
    return 10 ** (-0.14 / (1 + 1.3e10 / n) * (np.log10(X) - 1 - 0.02 * np.log10(n)))


def floor(n: float) -> np.ndarray:
    return 0.2 + (30.0 / X) ** (0.1 + 0.05 * np.log10(n / 1e8))


def floor_shared(n: float) -> np.ndarray:
    return 0.05 + 10 ** (-0.25 / (1 + 1.3e10 / n) * (np.log10(X) + 2 - 0.05 * np.log10(n)))


def sigmoid(n: float) -> np.ndarray:
    return 1 - (0.1 + (0.7 - 0.1) / (1 + (6000.0 / X) ** 1.3))


def additive(n: float) -> np.ndarray:
    return 0.05 + 30.0 / n**0.2 + 1.5 / X**0.3


CASES = {
    "saturating": (saturating, {"Kmax": 0.14, "N0": 1.3e10}),
    "power_k": (power, {"c": 3e-6, "g": 0.4}),
    "pivot": (pivot, {"Kmax": 0.14, "N0": 1.3e10, "a": 1.0, "b": 0.02}),
    "floor": (floor, {"Linf[2]": 0.2, "X0[2]": 30.0}),
    "floor_shared": (floor_shared, {"Linf": 0.05, "Kmax": 0.25, "N0": 1.3e10, "a": -2.0, "b": 0.05}),
    "sigmoid": (sigmoid, {"R0[0]": 0.1, "A[0]": 0.7, "Cmid[0]": 6000.0, "B[0]": 1.3}),
    "additive": (additive, {"E": 0.05, "A": 30.0, "alpha": 0.2, "B": 1.5, "beta": 0.3}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("objective", ["log", "linear"])
def test_law_recovers_its_own_coefficients_from_exact_points(name: str, objective: str) -> None:
    loss, expected = CASES[name]
    points = points_from({float(n): loss(float(n)) for n in SIZES})
    found = fit_law(points, LAWS[name], Options(objective)).parameters.coefficients()
    for key, value in expected.items():
        assert float(found[key]) == pytest.approx(value, rel=2e-4), key


def test_loglinear_gives_every_size_the_line_of_numpy() -> None:
    points = pivot_points(noise=0.01)
    state = fit_law(points, LAWS["loglinear"]).parameters
    for index, size in enumerate(SIZES):
        slope, level = np.polyfit(points.x[points.n == size], points.y[points.n == size], 1)
        assert state.k([size])[0] == pytest.approx(-slope, rel=1e-9)
        assert state.levels[index] == pytest.approx(level, rel=1e-9)


@pytest.mark.parametrize("name", [name for name, law in LAWS.items() if isinstance(law, CurveLaw)])
def test_analytic_jacobian_equals_central_differences(name: str) -> None:
    law = LAWS[name]
    assert isinstance(law, CurveLaw)
    points = pivot_points(noise=0.005)
    part = points.where(points.size == 4) if law.per_size else points
    p, log_n = law.starts(part, line_coefficients), np.log10(part.n)
    exact = law.jacobian(p, log_n, part.x)
    for index in range(p.shape[1]):
        shift = np.zeros_like(p)
        shift[:, index] = 1e-6
        numeric = (law.eta(p + shift, log_n, part.x) - law.eta(p - shift, log_n, part.x)) / 2e-6
        np.testing.assert_allclose(exact[..., index], numeric, atol=1e-7)


@pytest.mark.parametrize("name", [n for n, law in LAWS.items() if isinstance(law, LineLaw) and law.gradient])
def test_gradient_of_a_basis_equals_central_differences(name: str) -> None:
    law = LAWS[name]
    assert isinstance(law, LineLaw)
    assert law.gradient is not None
    theta = np.array([0.3, 1.1]) if name == "power_k" else np.array([9.0, 10.5])
    exact = law.gradient(theta, SIZES, SIZES[-1])
    above, below = law.basis(theta + 1e-6, SIZES, SIZES[-1]), law.basis(theta - 1e-6, SIZES, SIZES[-1])
    for side in (0, 1):
        np.testing.assert_allclose(exact[side], (above[side] - below[side]) / 2e-6, atol=1e-7)


@pytest.mark.parametrize("name", LAWS)
def test_every_law_stands_in_a_file_of_its_name_that_states_its_equation_and_source(name: str) -> None:
    module = importlib.import_module(f"tasks.fit.laws.{name}")
    assert module.LAW is LAWS[name]
    assert "Fitted" in module.__doc__
    assert LAWS[name].equation
    assert LAWS[name].source


def test_unknown_law_is_refused_with_the_known_names() -> None:
    with pytest.raises(InputError, match="expected one of additive"):
        law_named("quadratic")


def test_law_of_free_levels_refuses_an_unseen_size() -> None:
    state = fit_law(pivot_points(), LAWS["saturating"]).parameters
    with pytest.raises(InputError, match="N = 1e\\+11"):
        state.predict([1e11], [5.0])


def test_pivot_needs_three_sizes() -> None:
    points = pivot_points()
    with pytest.raises(InputError, match="at least 3 sizes, found 2"):
        fit_law(points.where(points.size < 2), LAWS["pivot"])
