"""log10 L = -k(N) (log10 X - s(N)), k(N) = Kmax / (1 + N0/N), s(N) = a + b log10 N: lines through a moving pivot.

Fitted: Kmax, N0 (parameters), a (log10 of the resource at which L would be 1, for N = 1) and b (its change per decade
of N). E(N) = k(N) s(N) is nearly what the published table shows (E/k almost constant), so four numbers replace the
table of E_i and a size nobody has trained can be forecast. Linear in Kmax, Kmax a, Kmax b given N0.
"""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Floats
from tasks.fit.laws.forms import Basis, LineLaw, n0_grid, saturation


def _columns(shape: Floats, sizes: Floats, reference: float) -> Basis:
    zero = np.zeros_like(shape)
    u = np.stack([-shape, zero, zero], axis=-1)
    v = np.stack([zero, shape, shape * np.log10(sizes / reference)], axis=-1)
    return u, v


def _basis(theta: Floats, sizes: Floats, reference: float) -> Basis:
    return _columns(saturation(theta, sizes, reference)[0], sizes, reference)


def _gradient(theta: Floats, sizes: Floats, reference: float) -> Basis:
    return _columns(saturation(theta, sizes, reference)[1], sizes, reference)


def _coefficients(theta: Floats, beta: Floats, reference: float) -> dict[str, Floats]:
    n0 = 10.0**theta
    slope = np.where(beta[..., 0] == 0, np.nan, beta[..., 0])
    b = beta[..., 2] / slope
    kmax = beta[..., 0] * (1.0 + n0 / reference)
    return {"Kmax": kmax, "N0": n0, "a": beta[..., 1] / slope - b * np.log10(reference), "b": b}


LAW = LineLaw(
    name="pivot",
    equation="log L = -Kmax/(1 + N0/N) (log X - a - b log N)",
    source="own; from the published table, where E(N)/k(N) is nearly constant",
    free_levels=False,
    basis=_basis,
    gradient=_gradient,
    search=n0_grid,
    coefficients=_coefficients,
    minimum_sizes=3,
)
