"""A fitted law's numbers, for one optimum or a stack of draws, and what follows: log10 L and k at any N and X."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from tasks.fit.data.measurements import Floats
from tasks.fit.laws.forms import CurveLaw, LineLaw
from tasks.fit.solver.line_statistics import LineStatistics
from tasks.fit.solver.variable_projection import Projection, reference_size
from tasks.study.errors import InputError


def _index_of(sizes: Floats, n: Floats, law: str) -> np.ndarray:
    """Index of each n among the fitted sizes."""
    index = np.clip(np.searchsorted(sizes, n), 0, len(sizes) - 1)
    missing = sizes[index] != n
    if missing.any():
        raise InputError(
            f"law {law} has a free level for every size and cannot say anything about N = {n[missing][0]:g}; "
            "use a law that forecasts unseen sizes (pivot, floor_shared, additive)"
        )
    return index


@dataclass(frozen=True)
class LineParameters:
    """Numbers of a `LineLaw`; leading axes are draws.

    Attributes:
        law: the law.
        sizes: fitted sizes [S].
        theta: [...].
        beta: [..., J].
        levels: E_i [..., S] for laws with free levels, else empty [..., 0].
        reference: size at which the law's scaled basis equals 1.
    """

    law: LineLaw
    sizes: Floats
    theta: Floats
    beta: Floats
    levels: Floats
    reference: float

    @classmethod
    def of(cls, law: LineLaw, sizes: Floats, lines: LineStatistics, fit: Projection) -> LineParameters:
        """Adds the levels that follow from the slopes: E_i = my_i - slope_i mx_i."""
        reference = reference_size(sizes)
        if not law.free_levels:
            return cls(law, sizes, fit.theta, fit.beta, np.zeros((*fit.theta.shape, 0)), reference)
        u, _ = law.basis(fit.theta, sizes, reference)
        slope = np.einsum("...sj,...j->...s", u, fit.beta)
        return cls(law, sizes, fit.theta, fit.beta, lines.my - slope * lines.mx, reference)

    def with_refitted_level(self, n: float, x: Floats, y: Floats) -> LineParameters:
        """The same slopes with one more size, its level taken from that size's own points (x, y) [P].

        This is how the published study shows a held-out size. It is no forecast: the level has seen the answer.
        """
        level = float(y.mean()) + self.k([n])[..., 0] * float(x.mean())
        sizes = np.append(self.sizes, n)
        order = np.argsort(sizes)
        levels = np.concatenate([self.levels, np.asarray(level)[..., None]], axis=-1)[..., order]
        return replace(self, sizes=sizes[order], levels=levels)

    def line(self, n: Floats) -> tuple[Floats, Floats]:
        """Slope and level of the line at each n [..., Q]."""
        if self.law.k_of_unseen:
            u, v = self.law.basis(self.theta, n, self.reference)
            slope = np.einsum("...qj,...j->...q", u, self.beta)
            level = np.einsum("...qj,...j->...q", v, self.beta)
        else:
            slope = -self.beta[..., _index_of(self.sizes, n, self.law.name)]
            level = np.zeros_like(slope)
        return slope, level

    def predict(self, n: ArrayLike, x: ArrayLike) -> Floats:
        """log10 L at sizes n and x = log10 X, both [Q] -> [..., Q]."""
        n, x = np.atleast_1d(np.asarray(n, float)), np.atleast_1d(np.asarray(x, float))
        slope, level = self.line(n)
        if self.law.free_levels:
            level = level + self.levels[..., _index_of(self.sizes, n, self.law.name)]
        return slope * x + level

    def k(self, n: ArrayLike) -> Floats:
        """Learning efficiency k at sizes n [Q] -> [..., Q]."""
        return -self.line(np.atleast_1d(np.asarray(n, float)))[0]

    def coefficients(self) -> dict[str, Floats]:
        """Named coefficients [...], the levels excepted."""
        return self.law.coefficients(self.theta, self.beta, self.reference)


@dataclass(frozen=True)
class CurveParameters:
    """Numbers of a `CurveLaw`: p [..., J], or [..., S, J] for laws fitted to each size alone.

    Attributes:
        law: the law.
        sizes: fitted sizes [S].
        middle: log10 X at which `k` is read off, by size [S].
        p: unconstrained parameters.
    """

    law: CurveLaw
    sizes: Floats
    middle: Floats
    p: Floats

    def predict(self, n: ArrayLike, x: ArrayLike) -> Floats:
        """log10 L at sizes n and x = log10 X, both [Q] -> [..., Q]."""
        n, x = np.atleast_1d(np.asarray(n, float)), np.atleast_1d(np.asarray(x, float))
        if not self.law.per_size:
            return self.law.eta(self.p, np.log10(n), x)
        own = self.p[..., _index_of(self.sizes, n, self.law.name), :]
        return self.law.eta(own, np.log10(n)[:, None], x[:, None])[..., 0]

    def k(self, n: ArrayLike) -> Floats:
        """Local slope -d log L / d log X in the middle of the trajectory nearest in size, [Q] -> [..., Q]."""
        n = np.atleast_1d(np.asarray(n, float))
        nearest = np.argmin(np.abs(np.log10(n)[:, None] - np.log10(self.sizes)), axis=1)
        x, h = self.middle[nearest], 1e-4
        return (self.predict(n, x - h) - self.predict(n, x + h)) / (2 * h)

    def coefficients(self) -> dict[str, Floats]:
        """Named coefficients [...]; for laws fitted by size, `name[size index]`."""
        named = self.law.coefficients(self.p)
        if not self.law.per_size:
            return named
        return {
            f"{name}[{index}]": value[..., index] for name, value in named.items() for index in range(len(self.sizes))
        }


Parameters = LineParameters | CurveParameters
