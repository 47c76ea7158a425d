"""Exact variable projection: the global least-squares optimum of a `LineLaw`, for one data set or many draws at once.

Given theta the law is linear, so beta(theta) and the residual sum of squares S(theta) are closed forms of the lines'
statistics. S is scanned on the law's fixed grid and the minimum's bracket is narrowed by bisection on dS/dtheta (by the
envelope theorem the derivative at fixed beta), to the last bits of theta. No random numbers, no starting values.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.fit.data.measurements import Floats, Measurements
from tasks.fit.laws.forms import Basis, LineLaw
from tasks.fit.solver.line_statistics import LineStatistics, line_statistics

_CHUNK = 2048


@dataclass(frozen=True)
class Projection:
    """An optimum, or one per draw.

    Attributes:
        theta: the non-linear parameter [...]; 0 for laws without one.
        beta: the linear parameters [..., J].
        rss: weighted residual sum of squares [...].
        at_bound: whether theta lies at an end of its search range [...].
    """

    theta: Floats
    beta: Floats
    rss: Floats
    at_bound: np.ndarray


def reference_size(sizes: Floats) -> float:
    """The size at which scaled bases equal 1: the largest fitted one."""
    return float(sizes[-1])


def line_coefficients(law: LineLaw, points: Measurements, y: Floats) -> dict[str, Floats]:
    """Named coefficients of the exact fit of a line law to log10 losses y [P] at the points' sizes and X."""
    lines = line_statistics(points.x, y, np.ones(len(points)), points.size, len(points.sizes))
    projection = variable_projection(law, lines, points.sizes)
    return law.coefficients(projection.theta, projection.beta, reference_size(points.sizes))


def _normal(law: LineLaw, lines: LineStatistics, left: Basis, right: Basis) -> tuple[Floats, Floats]:
    """Sum over sizes of left'right [..., J, J], and of left'y [..., J], for bases u x + v."""
    (u, v), (p, q) = left, right
    gram = np.einsum("...sj,...s,...sk->...jk", u, lines.cxx, p, optimize=False)
    moment = np.einsum("...sj,...s->...j", u, lines.cxy, optimize=False)
    if not law.free_levels:
        mx = lines.mx[..., None]
        level, other = u * mx + v, p * mx + q
        gram = gram + np.einsum("...sj,...s,...sk->...jk", level, lines.n, other, optimize=False)
        moment = moment + np.einsum("...sj,...s->...j", level, lines.n * lines.my, optimize=False)
    return gram, moment


def _total(law: LineLaw, lines: LineStatistics) -> Floats:
    """Sum of squares of y that the law could explain: about the levels where they are free, else about 0 [...]."""
    total = lines.cyy.sum(-1)
    return total if law.free_levels else total + (lines.n * lines.my**2).sum(-1)


def solve_linear(gram: Floats, moment: Floats) -> Floats:
    """Solves the scaled normal equations; a column without any weight gets coefficient 0."""
    diagonal = np.einsum("...jj->...j", gram)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    if gram.shape[-1] == 1:
        return np.where(diagonal > 0, moment / scale**2, 0.0)
    unit = gram / (scale[..., :, None] * scale[..., None, :])
    unit = unit + np.where(diagonal > 0, 0.0, 1.0)[..., None] * np.eye(gram.shape[-1])
    try:
        solved = np.linalg.solve(unit, (moment / scale)[..., None])[..., 0]
    except np.linalg.LinAlgError:
        solved = np.einsum("...jk,...k->...j", np.linalg.pinv(unit, rcond=1e-12, hermitian=True), moment / scale)
    return solved / scale


def profile(law: LineLaw, lines: LineStatistics, sizes: Floats, theta: Floats) -> tuple[Floats, Floats]:
    """S(theta) and beta(theta); the leading axes of `theta` and `lines` broadcast.

    Returns:
        Residual sums of squares [...] and coefficients [..., J].
    """
    basis = law.basis(theta, sizes, reference_size(sizes))
    gram, moment = _normal(law, lines, basis, basis)
    beta = solve_linear(gram, moment)
    fitted = 2.0 * (beta * moment).sum(-1) - np.einsum("...j,...jk,...k->...", beta, gram, beta, optimize=False)
    return np.maximum(_total(law, lines) - fitted, 0.0), beta


def _derivative(law: LineLaw, lines: LineStatistics, sizes: Floats, theta: Floats) -> Floats:
    """dS/dtheta up to a factor of 2 [...]."""
    assert law.gradient is not None
    reference = reference_size(sizes)
    basis, slope = law.basis(theta, sizes, reference), law.gradient(theta, sizes, reference)
    if law.free_levels and basis[0].shape[-1] == 1:
        # The common case, in as few array operations as it takes.
        u, du = basis[0][..., 0], slope[0][..., 0]
        scaled = u * lines.cxx
        single = (u * lines.cxy).sum(-1) / (u * scaled).sum(-1)
        return single * (single * (du * scaled).sum(-1) - (du * lines.cxy).sum(-1))
    beta = solve_linear(*_normal(law, lines, basis, basis))
    gram, moment = _normal(law, lines, slope, basis)
    return np.einsum("...j,...jk,...k->...", beta, gram, beta, optimize=False) - (beta * moment).sum(-1)


def _scan(law: LineLaw, lines: LineStatistics, sizes: Floats, grid: Floats) -> Floats:
    """S on the grid [..., G]."""
    if not law.free_levels or law.basis(grid[:1], sizes, 1.0)[0].shape[-1] > 1:
        wide = LineStatistics(*(value[..., None, :] for value in vars(lines).values()))
        return profile(law, wide, sizes, grid)[0]
    u = law.basis(grid, sizes, reference_size(sizes))[0][..., 0].T
    moment, gram = lines.cxy @ u, lines.cxx @ (u * u)
    return _total(law, lines)[..., None] - moment**2 / np.where(gram > 0, gram, 1.0)


def variable_projection(law: LineLaw, lines: LineStatistics, sizes: Floats, near: float | None = None) -> Projection:
    """Finds the optimum of a law on lines [S], or of every draw of lines [B, S].

    Args:
        law: the law.
        lines: statistics of the data.
        sizes: N [S].
        near: for a single data set, theta of a nearby problem: tried first, and kept where it brackets a minimum. An
            iteration that ends with one call without it has still searched the whole range.

    Returns:
        The optimum, with the leading axes of `lines`.
    """
    shape = lines.cxy.shape[:-1]
    if law.search is None:
        rss, beta = profile(law, lines, sizes, np.zeros(shape))
        return Projection(np.zeros(shape), beta, rss, np.zeros(shape, dtype=bool))
    if not shape and near is not None:
        close = _project_near(law, lines, sizes, near)
        if close is not None:
            return close
    if not shape:
        flat = variable_projection(law, LineStatistics(*(value[None] for value in vars(lines).values())), sizes)
        return Projection(flat.theta[0], flat.beta[0], flat.rss[0], flat.at_bound[0])
    full = LineStatistics(*(np.broadcast_to(value, lines.cxy.shape) for value in vars(lines).values()))
    parts = [
        _project_chunk(law, LineStatistics(*(value[start : start + _CHUNK] for value in vars(full).values())), sizes)
        for start in range(0, shape[0], _CHUNK)
    ]
    return Projection(
        *(np.concatenate(column) for column in zip(*(vars(part).values() for part in parts), strict=True))
    )


def _project_near(law: LineLaw, lines: LineStatistics, sizes: Floats, near: float) -> Projection | None:
    """The minimum within 0.05 of `near`, or None where that is no bracket."""
    low, high = np.array(near - 0.05), np.array(near + 0.05)
    if not _derivative(law, lines, sizes, low) < 0 < _derivative(law, lines, sizes, high):
        return None
    theta = _bisect(law, lines, sizes, low, high)
    rss, beta = profile(law, lines, sizes, theta)
    return Projection(theta, beta, rss, np.array(False))


def _project_chunk(law: LineLaw, lines: LineStatistics, sizes: Floats) -> Projection:
    assert law.search is not None
    grid = law.search(sizes)
    best = np.argmin(_scan(law, lines, sizes, grid), axis=-1)
    low, high = grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, len(grid) - 1)]
    theta = _bisect(law, lines, sizes, low, high)
    rss, beta = profile(law, lines, sizes, theta)
    edge = 1e-6 * (grid[-1] - grid[0])
    return Projection(theta, beta, rss, (theta - grid[0] < edge) | (grid[-1] - theta < edge))


def _bisect(law: LineLaw, lines: LineStatistics, sizes: Floats, low: Floats, high: Floats) -> Floats:
    """Root of dS/dtheta between low and high by the Illinois method, guarded by bisection.

    S falls at `low` and rises at `high`, or the optimum is the end it falls towards.
    """
    left, right = _derivative(law, lines, sizes, low), _derivative(law, lines, sizes, high)
    edge_low, edge_high = left >= 0, (right <= 0) & (left < 0)
    a, b, theta = low.copy(), high.copy(), 0.5 * (low + high)
    moved_last = np.zeros(theta.shape, dtype=np.int8)  # 1: the right end, -1: the left one
    for iteration in range(60):
        span = np.where(right != left, right - left, 1.0)
        secant = b - right * (b - a) / span
        previous, inside = theta, (secant > a) & (secant < b)
        theta = np.where(inside & (iteration % 8 != 7), secant, 0.5 * (a + b))
        slope = _derivative(law, lines, sizes, theta)
        falls = slope < 0
        # Illinois: an end that stays for the second time counts with half its value, so that neither end stalls.
        left = np.where(falls, slope, np.where(moved_last == 1, 0.5 * left, left))
        right = np.where(falls, np.where(moved_last == -1, 0.5 * right, right), slope)
        moved_last = np.where(falls, -1, 1).astype(np.int8)
        a, b = np.where(falls, theta, a), np.where(falls, b, theta)
        if np.all((np.abs(theta - previous) <= 1e-13 * np.abs(theta)) | (slope == 0) | edge_low | edge_high):
            break
    return np.where(edge_low, low, np.where(edge_high, high, theta))
