"""log10 L = -k(N) log10 X + E_i with k(N) = c N^g: learning efficiency that grows without saturating.

Fitted: c (per parameter^g), g (dimensionless) and E_i for each size. Linear in c and E_i given g. The rival of
`saturating` in the saturation test.
"""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Floats
from tasks.fit.laws.forms import Basis, LineLaw


def _basis(theta: Floats, sizes: Floats, reference: float) -> Basis:
    shape = (sizes / reference) ** np.asarray(theta)[..., None]
    return -shape[..., None], np.zeros((*shape.shape, 1))


def _gradient(theta: Floats, sizes: Floats, reference: float) -> Basis:
    ratio = sizes / reference
    slope = ratio ** np.asarray(theta)[..., None] * np.log(ratio)
    return -slope[..., None], np.zeros((*slope.shape, 1))


def _search(sizes: Floats) -> Floats:
    return np.linspace(-2.0, 4.0, 61)


def _coefficients(theta: Floats, beta: Floats, reference: float) -> dict[str, Floats]:
    return {"c": beta[..., 0] * reference ** (-theta), "g": np.asarray(theta)}


LAW = LineLaw(
    name="power_k",
    equation="log L = -c N^g log X + E_i",
    source="own; the non-saturating rival",
    free_levels=True,
    basis=_basis,
    gradient=_gradient,
    search=_search,
    coefficients=_coefficients,
    minimum_sizes=2,
)
