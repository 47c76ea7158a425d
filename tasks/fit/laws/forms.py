"""The two kinds of law. A law is data: each file of this package holds one, with its equation and its source.

`LineLaw`: log10 L is a straight line in x = log10 X for every size, and linear in all parameters but at most one
(theta). It is fitted exactly, see `tasks.fit.solver.variable_projection`. `CurveLaw`: anything smooth, fitted by
multi-start least squares with an analytic Jacobian, see `tasks.fit.solver.levenberg_marquardt`. Below them: the
transforms that keep a curve's parameters within bounds, and the shape of k(N) that several laws share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from tasks.fit.data.measurements import Floats, Measurements

LN10 = float(np.log(10.0))
Basis: TypeAlias = tuple[Floats, Floats]


@dataclass(frozen=True)
class LineLaw:
    """log10 L_i = sum_j beta_j (u_ij(theta) x + v_ij(theta)) [+ E_i], i a size.

    Attributes:
        name: as used on the command line and in files.
        equation: one line.
        source: where the form comes from.
        free_levels: whether every size has its own E_i; otherwise v carries the levels and unseen sizes can be
        forecast.
        basis: (theta [...], sizes [S], reference size) -> u, v of shape [..., S, J].
        coefficients: (theta [...], beta [..., J], reference) -> named coefficients [...].
        minimum_sizes: fewest distinct sizes the law can be fitted on.
        gradient: derivative of u and v by theta; None for laws without theta.
        search: (sizes) -> ascending grid of theta that brackets every plausible optimum; None without theta.
        k_of_unseen: whether k(N) is defined for a size that was not fitted.
    """

    name: str
    equation: str
    source: str
    free_levels: bool
    basis: Callable[[Floats, Floats, float], Basis]
    coefficients: Callable[[Floats, Floats, float], dict[str, Floats]]
    minimum_sizes: int
    gradient: Callable[[Floats, Floats, float], Basis] | None = None
    search: Callable[[Floats], Floats] | None = None
    k_of_unseen: bool = True

    @property
    def forecasts_unseen(self) -> bool:
        """Whether the law gives the loss of a size nobody has trained."""
        return not self.free_levels

    @property
    def minimum_points(self) -> int:
        """Fewest points of a size: a line of its own wants three, a share in the common form one."""
        return 3 if self.free_levels else 1

    def parameters(self, sizes: int) -> int:
        """Number of fitted parameters on that many sizes."""
        columns = self.basis(np.zeros(()), np.geomspace(1.0, 2.0, sizes), 1.0)[0].shape[-1]
        return columns + (self.search is not None) + (sizes if self.free_levels else 0)


LineFit: TypeAlias = Callable[[LineLaw, Measurements, Floats], dict[str, Floats]]
"""(law, points, log10 L [P]) -> named coefficients of the exact fit, as the solver hands it to `CurveLaw.starts`."""


@dataclass(frozen=True)
class CurveLaw:
    """log10 L = eta(p; log10 N, x) with p unconstrained reals (bounded quantities are transformed).

    Attributes:
        name: as used on the command line and in files.
        equation: one line.
        source: where the form comes from.
        names: names of the unconstrained parameters, J of them.
        per_size: fitted to each size alone (p is then [S, J]), otherwise to all sizes together.
        eta: (p [..., J], log10 N [P], x [P]) -> log10 L [..., P].
        jacobian: the same arguments -> d eta / d p [..., P, J].
        starts: (measurements, fit of a line law) -> fixed grid of starting points [M, J].
        coefficients: (p [..., J]) -> named coefficients in their own units [...].
        minimum_sizes: fewest distinct sizes the law can be fitted on.
    """

    name: str
    equation: str
    source: str
    names: tuple[str, ...]
    per_size: bool
    eta: Callable[[Floats, Floats, Floats], Floats]
    jacobian: Callable[[Floats, Floats, Floats], Floats]
    starts: Callable[[Measurements, LineFit], Floats]
    coefficients: Callable[[Floats], dict[str, Floats]]
    minimum_sizes: int

    @property
    def forecasts_unseen(self) -> bool:
        """Whether the law gives the loss of a size nobody has trained."""
        return not self.per_size

    @property
    def minimum_points(self) -> int:
        """Fewest points of a size: a curve of its own wants three, a share in the common form one."""
        return 3 if self.per_size else 1

    def parameters(self, sizes: int) -> int:
        """Number of fitted parameters on that many sizes."""
        return len(self.names) * (sizes if self.per_size else 1)


def expit(u: Floats) -> Floats:
    """1 / (1 + e^-u), without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * np.asarray(u)))


def logit(probability: Floats | float) -> Floats:
    """Inverse of `expit`."""
    return np.log(np.asarray(probability)) - np.log1p(-np.asarray(probability))


def bounded_exp(u: Floats) -> Floats:
    """e^u, with u clipped to [-30, 30]."""
    return np.exp(np.clip(u, -30, 30))


def bounded_power10(u: Floats) -> Floats:
    """10^u, with u clipped to [-300, 300]."""
    return 10.0 ** np.clip(u, -300, 300)


def saturation(theta: Floats, sizes: Floats, reference: float) -> tuple[Floats, Floats]:
    """phi = (1 + N0/Nref) / (1 + N0/N) with N0 = 10^theta, and d phi / d theta.

    Scaled to 1 at the reference size, so that nothing underflows where N0 is far above every size.

    Returns:
        Two arrays [..., S].
    """
    n0 = 10.0 ** np.asarray(theta)[..., None]
    over = 1.0 / (1.0 + n0 / sizes)
    return (1.0 + n0 / reference) * over, LN10 * n0 * (1.0 / reference - 1.0 / sizes) * over**2


def n0_grid(sizes: Floats) -> Floats:
    """log10 N0 from a thousandth of the smallest size to a thousand times the largest, 8 per decade."""
    low, high = np.log10(sizes[0]) - 3.0, np.log10(sizes[-1]) + 3.0
    return np.linspace(low, high, int(np.ceil((high - low) * 8)) + 1)
