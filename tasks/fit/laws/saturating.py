"""log10 L = -k(N) log10 X + E_i with k(N) = Kmax / (1 + N0/N): the published law.

Fitted: Kmax (the slope of an infinitely large model), N0 (parameters; half of Kmax is reached there) and E_i for each
size. Linear in Kmax and E_i given N0. Source: arXiv 2509.25300.
"""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Floats
from tasks.fit.laws.forms import Basis, LineLaw, n0_grid, saturation


def _basis(theta: Floats, sizes: Floats, reference: float) -> Basis:
    phi, _ = saturation(theta, sizes, reference)
    return -phi[..., None], np.zeros((*phi.shape, 1))


def _gradient(theta: Floats, sizes: Floats, reference: float) -> Basis:
    _, slope = saturation(theta, sizes, reference)
    return -slope[..., None], np.zeros((*slope.shape, 1))


def _coefficients(theta: Floats, beta: Floats, reference: float) -> dict[str, Floats]:
    n0 = 10.0**theta
    return {"Kmax": beta[..., 0] * (1.0 + n0 / reference), "N0": n0}


LAW = LineLaw(
    name="saturating",
    equation="log L = -Kmax/(1 + N0/N) log X + E_i",
    source="arXiv 2509.25300",
    free_levels=True,
    basis=_basis,
    gradient=_gradient,
    search=n0_grid,
    coefficients=_coefficients,
    minimum_sizes=2,
)
