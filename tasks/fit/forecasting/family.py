"""Curves of several sizes as one Gaussian process: a line each, a misfit they share, and misfits of their own.

    y_i(t) = m_i + b_i (t - c) + s_i (w(t) + u_i(t) + v_i(t)) + noise,      s_i = `Curve.scale`

w, common to all sizes, is smooth (squared exponential): all see the same curriculum, so they fall faster and slower
together. It is the clock of the forecast. u_i is the Ornstein-Uhlenbeck misfit of `misfit`; v_i is a wandering slope
(integrated Ornstein-Uhlenbeck), which lets a curve bend where its points ask for it. w, u and v are orthogonal to
1 and t over the trained range, so that lines are what a straight fit to a whole run would find; w holds its last value
beyond it. Spreads and lengths are those of the largest restricted likelihood on a fixed grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tasks.fit.data.measurements import Floats, Ints
from tasks.fit.forecasting.curves import Curve
from tasks.fit.forecasting.misfit import EARLY_SPREAD, SMOOTH_LENGTH

_GRID_POINTS = 40
_ROUNDS = 2


@dataclass(frozen=True)
class Misfit:
    """Spreads (in units of a curve's scale) and lengths (decades of step) of w, u and v.

    Attributes:
        common: spread of w, decades.
        common_length: its length.
        smooth: spread of u, decades.
        bend: standard deviation of v's slope; never 0, which leaves an error ahead that grows with the distance.
        bend_length: over which that slope is forgotten.
    """

    common: float = 0.1
    common_length: float = 0.3
    smooth: float = 0.1
    bend: float = 0.5
    bend_length: float = 0.5


# A run without others: public RL runs bend more than a family of sizes tells of itself.
_ALONE = Misfit(bend=1.5)
_CHOICES = {
    "common": (0.02, 0.05, 0.1, 0.2, 0.4, 0.8),
    "common_length": (0.08, 0.15, 0.3, 0.6),
    "smooth": (0.03, 0.06, 0.1, 0.15, 0.25, 0.4),
    "bend": (0.25, 0.5, 1.0, 2.0),
    "bend_length": (0.2, 0.5),
}


@dataclass(frozen=True)
class Stack:
    """Points of several curves end to end.

    Attributes:
        t: times [P].
        curve: index of each point's curve [P].
        y: log10 L [P].
        noise: white variance [P].
        scale: scale of each curve [C].
    """

    t: Floats
    curve: Ints
    y: Floats
    noise: Floats
    scale: Floats

    @classmethod
    def of(cls, curves: Sequence[Curve]) -> Stack:
        """Stacks curves in order."""
        empty = [np.zeros(0)]
        return cls(
            np.concatenate([c.t for c in curves] or empty),
            np.repeat(np.arange(len(curves)), [len(c.t) for c in curves]),
            np.concatenate([c.y for c in curves] or empty),
            np.concatenate([c.noise for c in curves] or empty),
            np.array([c.scale for c in curves]),
        )

    def lines(self, center: float) -> Floats:
        """Design of level at `center` and slope of every curve [P, 2 C]."""
        design = np.zeros((len(self.t), 2 * len(self.scale)))
        rows = np.arange(len(self.t))
        design[rows, 2 * self.curve] = 1.0
        design[rows, 2 * self.curve + 1] = self.t - center
        return design


class Kernels:
    """Covariances of w, u and v, each of unit spread, between the points of a stack; computed when first asked for."""

    def __init__(self, t: Floats, curve: Ints, grid: Floats) -> None:
        self.t, self.grid = t, grid
        self._same = curve[:, None] == curve
        self._known: dict[tuple[str, float], Floats] = {}

    def common(self, length: float) -> Floats:
        """Of w [P, P]."""
        held = np.minimum(self.t, self.grid[-1])
        return self._get("common", length, held)

    def own(self, kind: str, length: float) -> Floats:
        """Of u ("smooth") or v ("bend"), 0 between curves [P, P]."""
        return np.where(self._same, self._get(kind, length, self.t), 0.0)

    def _get(self, kind: str, length: float, t: Floats) -> Floats:
        key = (kind, length)
        if key not in self._known:
            self._known[key] = _without_line(kind, length, t, self.grid)
        return self._known[key]


def _without_line(kind: str, length: float, t: Floats, grid: Floats) -> Floats:
    """Covariance of a process minus its least-squares line over the grid [P, P]."""
    design = np.stack([np.ones_like(grid), grid], axis=1)
    line = np.stack([np.ones_like(t), t], axis=1) @ np.linalg.pinv(design)
    cross = _covariance(kind, length, t, grid)
    both = cross @ line.T
    return _covariance(kind, length, t, t) - both - both.T + line @ _covariance(kind, length, grid, grid) @ line.T


def _covariance(kind: str, length: float, a: Floats, b: Floats) -> Floats:
    distance = np.abs(a[:, None] - b)
    if kind == "common":
        return np.asarray(np.exp(-0.5 * (distance / length) ** 2))
    if kind == "smooth":
        return np.asarray(np.exp(-distance / length))
    # Integral of a unit Ornstein-Uhlenbeck slope from t = 0, the first step.
    first, second = a[:, None], b
    decay = np.exp(-first / length) + np.exp(-second / length) - np.exp(-distance / length)
    return np.asarray(2.0 * length * np.minimum(first, second) - length**2 * (1.0 - decay))


def covariance(kernels: Kernels, misfit: Misfit, scale: Floats) -> Floats:
    """Covariance of log10 L about its lines without noise [P, P], for points of these scales [P]."""
    own = misfit.smooth**2 * kernels.own("smooth", SMOOTH_LENGTH)
    own = own + misfit.bend**2 * kernels.own("bend", misfit.bend_length)
    both = own + misfit.common**2 * kernels.common(misfit.common_length) if misfit.common else own
    return scale[:, None] * both * scale


def white(t: Floats, noise: Floats, scale: Floats, stepped: bool) -> Floats:
    """Variance that belongs to a point alone [P]: its noise and, by step, the early misfit."""
    early = (EARLY_SPREAD * scale / 10.0**t) ** 2 if stepped else 0.0
    return noise + early + 1e-10


@dataclass(frozen=True)
class Family:
    """Curves with the misfit that they show.

    Attributes:
        curves: one per size, ascending in N; may be empty.
        grid: times that span the trained range.
        misfit: spreads and lengths.
        stepped: whether t is log10 step: without steps there is no common clock.
        level: m of each curve, log10 L at the grid's middle [C].
        slope: b of each curve [C].
    """

    curves: tuple[Curve, ...]
    grid: Floats
    misfit: Misfit
    stepped: bool
    level: Floats
    slope: Floats

    @property
    def center(self) -> float:
        """The middle of the trained range."""
        return float(self.grid.mean())

    @property
    def sizes(self) -> Floats:
        """N of the curves [C]."""
        return np.array([curve.n for curve in self.curves])


def fit_family(curves: Sequence[Curve], stepped: bool, misfit: Misfit | None = None) -> Family:
    """Finds the lines, and the misfit unless it is given, of curves; no clock below three sizes or without steps."""
    ends = [value for curve in curves for value in (curve.t[0], curve.t[-1])] or [0.0, 2.0]
    grid = np.linspace(min(ends), max(max(ends), min(ends) + 0.1), _GRID_POINTS)
    stack = Stack.of(curves)
    kernels = Kernels(stack.t, stack.curve, grid)
    clocked = stepped and len(curves) >= 3
    if misfit is None:
        misfit = _likeliest(stack, kernels, grid, stepped, clocked) if curves else _ALONE
    misfit = misfit if clocked else replace(misfit, common=0.0)
    _, lines = _restricted_likelihood(stack, kernels, grid, stepped, misfit)
    return Family(tuple(curves), grid, misfit, stepped, lines[::2], lines[1::2])


def _likeliest(stack: Stack, kernels: Kernels, grid: Floats, stepped: bool, clocked: bool) -> Misfit:
    """Coordinate search on the grid of `_CHOICES`."""
    best = Misfit() if clocked else Misfit(common=0.0)
    value, _ = _restricted_likelihood(stack, kernels, grid, stepped, best)
    for _ in range(_ROUNDS):
        for name, choices in _CHOICES.items():
            if not clocked and name.startswith("common"):
                continue
            for choice in choices:
                other = replace(best, **{name: choice})
                likelihood, _ = _restricted_likelihood(stack, kernels, grid, stepped, other)
                if likelihood > value + 1e-9:
                    best, value = other, likelihood
    return best


def _restricted_likelihood(
    stack: Stack, kernels: Kernels, grid: Floats, stepped: bool, misfit: Misfit
) -> tuple[float, Floats]:
    """Restricted log-likelihood up to a constant, and the generalized least-squares lines [2 C]."""
    if not len(stack.t):
        return 0.0, np.zeros(0)
    scale = stack.scale[stack.curve]
    matrix = covariance(kernels, misfit, scale) + np.diag(white(stack.t, stack.noise, scale, stepped))
    root = np.linalg.cholesky(matrix)
    whitened = np.linalg.solve(root, np.column_stack([stack.y, stack.lines(float(grid.mean()))]))
    y, design = whitened[:, 0], whitened[:, 1:]
    gram = design.T @ design
    lines = np.linalg.lstsq(gram, design.T @ y, rcond=None)[0]
    rest = y - design @ lines
    determinant = float(np.linalg.slogdet(gram + 1e-12 * np.eye(len(gram)))[1])
    return -0.5 * float(rest @ rest) - float(np.log(np.diag(root)).sum()) - 0.5 * determinant, lines
