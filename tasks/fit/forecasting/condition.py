"""A curve ahead given the family's curves, a prior of its line and its own points: exact Gaussian conditioning.

Lines are coefficients with a prior: none for trained sizes, normal for the target. Its Student-t prior is nine normals
at quantiles of the squared scale, each with its own posterior (the conjugate update of a regression) and a weight that
the points give it. One more, five times as wide and of 3 %, stands for a prior that is plainly wrong: it counts where
points contradict the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.fit.data.measurements import Floats
from tasks.fit.forecasting.curves import Curve
from tasks.fit.forecasting.family import Family, Kernels, Stack, covariance, white
from tasks.fit.forecasting.line_prior import LinePrior
from tasks.fit.forecasting.mixture import Mixture, student_scales

_WRONG_SHARE, _WRONG_SCALE = 0.03, 5.0
_FLAT = 1e-8
_LEAST_SCALE = 1e-3


@dataclass(frozen=True)
class Ahead:
    """A curve (without noise) at times asked for, and its slope: log10 L per decade."""

    curve: Mixture
    slope: Mixture


@dataclass(frozen=True)
class _System:
    """Whitened log losses [P], lines [P, J] and covariance with the query [P, Q]; the query's lines and variance."""

    y: Floats
    design: Floats
    toward: Floats
    query: Floats
    alone: Floats


def condition(family: Family, prior: LinePrior, own: Curve | None, t: Floats) -> Ahead:
    """Forecasts a curve.

    Args:
        family: trained sizes.
        prior: of the target's line.
        own: its points so far; None: none.
        t: when [Q].

    Returns:
        The curve at t. Where it has three points or more it is not expected to rise above where it is.
    """
    held = own is not None and len(own.t) >= 3
    times = np.append(t, own.t[-1]) if held and own is not None else t
    level, slope = prior.mean if prior.sibling is None else (family.level[prior.sibling], family.slope[prior.sibling])
    least = max(0.05 * abs(level), _LEAST_SCALE)
    for _ in range(1 if own is None else 2):
        scale = max(abs(float(slope)), least)
        ahead = _posterior(_system(family, prior, own, times, scale), prior, own is not None)
        slope = float(ahead.slope.center[0])
    if not held:
        return ahead
    curve = ahead.curve
    mean = np.minimum(curve.mean[:, :-1], curve.mean[:, -1:])
    return Ahead(Mixture(curve.weight, mean, curve.variance[:, :-1]), ahead.slope)


def _system(family: Family, prior: LinePrior, own: Curve | None, t: Floats, scale: float) -> _System:
    """Covariances of all points and the query, whitened."""
    stack = Stack.of(family.curves if own is None else [*family.curves, own])
    index, points = len(family.curves), len(stack.t)
    times = np.concatenate([stack.t, t])
    curve = np.concatenate([stack.curve, np.full(len(t), index)])
    each = np.append(stack.scale[:index], scale)
    scales = each[curve]
    shared = np.where(curve == index, index if prior.sibling is None else prior.sibling, curve)
    full = covariance(Kernels(times, shared, family.grid), family.misfit, scales)
    lines = Stack(times, curve, times, times, each).lines(family.center)
    if prior.sibling is not None:
        of_target = curve == index
        for offset in (0, 1):
            lines[of_target, 2 * prior.sibling + offset] = lines[of_target, 2 * index + offset]
    alone = white(times, np.append(stack.noise, np.zeros(len(t))), scales, family.stepped)
    root = np.linalg.cholesky(full[:points, :points] + np.diag(alone[:points]))
    right = np.column_stack([stack.y, lines[:points], full[:points, points:]])
    whitened = np.linalg.solve(root, right) if points else right
    width = lines.shape[1]
    return _System(
        whitened[:, 0],
        whitened[:, 1 : 1 + width],
        whitened[:, 1 + width :],
        lines[points:],
        np.diag(full)[points:] + alone[points:],
    )


def _posterior(system: _System, prior: LinePrior, observed: bool) -> Ahead:
    """Posterior of the curve and its slope, mixed over scales of the prior."""
    factors = student_scales(prior.dof)
    share = np.full(len(factors), 1.0 / len(factors))
    if observed:
        factors = np.append(factors, _WRONG_SCALE**2)
        share = np.append(share * (1 - _WRONG_SHARE), _WRONG_SHARE)
    gram, moment = system.design.T @ system.design, system.design.T @ system.y
    width = len(gram)
    pick = np.zeros(width)
    pick[-1] = 1.0
    if prior.sibling is not None:
        pick[2 * prior.sibling + 1] = 1.0
    through = system.query - system.toward.T @ system.design
    rest = system.alone - (system.toward**2).sum(axis=0)
    means, variances, slopes, likelihood = [], [], [], []
    for factor in factors:
        precision, center = _FLAT * np.eye(width), np.zeros(width)
        precision[-2:, -2:], center[-2:] = np.linalg.inv(prior.scale * factor), prior.mean
        both = gram + precision
        inverse = np.linalg.inv(both)
        lines = inverse @ (moment + precision @ center)
        fit = center @ precision @ center - lines @ both @ lines
        determinant = np.linalg.slogdet(precision[-2:, -2:])[1] - np.linalg.slogdet(both)[1]
        likelihood.append(0.5 * float(determinant - fit))
        means.append(system.query @ lines + system.toward.T @ (system.y - system.design @ lines))
        variances.append(rest + np.einsum("qi,ij,qj->q", through, inverse, through))
        slopes.append((float(pick @ lines), float(pick @ inverse @ pick)))
    weight = share * np.exp(np.array(likelihood) - max(likelihood))
    weight = weight / weight.sum()
    slope = np.array(slopes)
    curve = Mixture(weight, np.array(means), np.maximum(np.array(variances), 0.0))
    return Ahead(curve, Mixture(weight, slope[:, :1], slope[:, 1:]))
