"""log10 L = -k_i log10 X + E_i: every size its own line.

Fitted: k_i (learning efficiency, dimensionless) and E_i (log10 L at X = 1) for each size. X in FLOPs or prompts.
Source: arXiv 2509.25300, the form from which the others start. Says nothing about sizes that were not trained.
"""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Floats
from tasks.fit.laws.forms import Basis, LineLaw


def _basis(theta: Floats, sizes: Floats, reference: float) -> Basis:
    u = np.broadcast_to(-np.eye(len(sizes)), (*np.shape(theta), len(sizes), len(sizes)))
    return u, np.zeros_like(u)


def _coefficients(theta: Floats, beta: Floats, reference: float) -> dict[str, Floats]:
    return {}


LAW = LineLaw(
    name="loglinear",
    equation="log L = -k_i log X + E_i",
    source="arXiv 2509.25300",
    free_levels=True,
    basis=_basis,
    coefficients=_coefficients,
    minimum_sizes=1,
    k_of_unseen=False,
)
