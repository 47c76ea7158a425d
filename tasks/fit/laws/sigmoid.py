"""R = R0 + (A - R0) / (1 + (Cmid/X)^B) with R = 1 - L, for every size: reward that saturates in the resource.

Fitted for each size: R0 (pass rate before training), A in (R0, 1) (asymptote), Cmid (resource, in units of X, at half
of the gain) and B > 0 (steepness). Source: ScaleRL, arXiv 2510.13786.
"""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Floats, Measurements
from tasks.fit.laws.forms import LN10, CurveLaw, LineFit, bounded_exp, bounded_power10, expit, logit


def _parts(p: Floats, x: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """R0, the fraction of (1 - R0) that is gained at most, the fraction of that reached at x, B, and the loss."""
    start, gain, steep = expit(p[..., 0:1]), expit(p[..., 1:2]), bounded_exp(p[..., 3:4])
    reached = expit(LN10 * steep * (x - p[..., 2:3]))
    loss = np.maximum((1.0 - start) * (1.0 - gain * reached), 1e-12)
    return start, gain, reached, steep, loss


def _eta(p: Floats, log_n: Floats, x: Floats) -> Floats:
    return np.log10(_parts(p, x)[-1])


def _jacobian(p: Floats, log_n: Floats, x: Floats) -> Floats:
    start, gain, reached, steep, loss = _parts(p, x)
    wrong = 1.0 - start
    slope = wrong * gain * reached * (1.0 - reached) * LN10 * steep
    rate = [
        start * wrong * (1.0 - gain * reached),
        wrong * gain * (1.0 - gain) * reached,
        -slope,
        slope * (x - p[..., 2:3]),
    ]
    return np.stack(rate, axis=-1) / (-LN10 * loss)[..., None]


def _starts(points: Measurements, fit_line: LineFit) -> Floats:
    reward = np.clip(1.0 - points.loss, 1e-3, 1 - 1e-3)
    low, middle, high = float(points.x.min()), float(points.x.mean()), float(points.x.max())
    first = float(np.clip(reward[points.x <= middle].min(), 1e-3, 0.9))
    grid = [
        [logit(first * fraction), logit(gain), center, np.log(steep)]
        for fraction in (0.3, 0.95)
        for gain in (0.3, 0.8)
        for center in (0.5 * (low + middle), high)
        for steep in (0.4, 1.5)
    ]
    return np.array(grid, dtype=float)


def _coefficients(p: Floats) -> dict[str, Floats]:
    start = expit(p[..., 0])
    return {
        "R0": start,
        "A": start + (1 - start) * expit(p[..., 1]),
        "Cmid": bounded_power10(p[..., 2]),
        "B": bounded_exp(p[..., 3]),
    }


LAW = CurveLaw(
    name="sigmoid",
    equation="1 - L = R0_i + (A_i - R0_i)/(1 + (Cmid_i/X)^B_i)",
    source="ScaleRL, arXiv 2510.13786",
    names=("logit R0", "logit gain", "log10 Cmid", "ln B"),
    per_size=True,
    eta=_eta,
    jacobian=_jacobian,
    starts=_starts,
    coefficients=_coefficients,
    minimum_sizes=1,
)
