"""log10 L = -k log10 X + E_i: one slope for all groups (null model: no effect of size on learning).

Fitted: k, and E_i for each group. Used as the null of the saturation test, and by `reuse` with tau as the group.
"""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Floats
from tasks.fit.laws.forms import Basis, LineLaw


def _basis(theta: Floats, sizes: Floats, reference: float) -> Basis:
    u = np.full((*np.shape(theta), len(sizes), 1), -1.0)
    return u, np.zeros_like(u)


def _coefficients(theta: Floats, beta: Floats, reference: float) -> dict[str, Floats]:
    return {"k": beta[..., 0]}


LAW = LineLaw(
    name="constant",
    equation="log L = -k log X + E_i",
    source="null of the saturation test",
    free_levels=True,
    basis=_basis,
    coefficients=_coefficients,
    minimum_sizes=1,
)
