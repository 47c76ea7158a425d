"""L = E + A / N^alpha + B / X^beta: size and resource contribute separately, as in pre-training.

Fitted: E in (0, 1) (irreducible loss), A and B (losses at N = 1 and X = 1), alpha and beta > 0 (dimensionless). Source:
arXiv 2203.15556. Forecasts sizes nobody has trained; cannot express slopes that grow with N.
"""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Floats, Measurements
from tasks.fit.laws.forms import LN10, CurveLaw, LineFit, bounded_exp, bounded_power10, expit, logit


def _parts(p: Floats, log_n: Floats, x: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """E, alpha, beta, A/N^alpha and B/X^beta."""
    alpha, beta = bounded_exp(p[..., 2:3]), bounded_exp(p[..., 4:5])
    by_size = 10.0 ** np.clip(p[..., 1:2] - alpha * log_n, -300.0, 8.0)
    by_resource = 10.0 ** np.clip(p[..., 3:4] - beta * x, -300.0, 8.0)
    return expit(p[..., 0:1]), alpha, beta, by_size, by_resource


def _eta(p: Floats, log_n: Floats, x: Floats) -> Floats:
    floor, _, _, by_size, by_resource = _parts(p, log_n, x)
    return np.log10(floor + by_size + by_resource)


def _jacobian(p: Floats, log_n: Floats, x: Floats) -> Floats:
    floor, alpha, beta, by_size, by_resource = _parts(p, log_n, x)
    loss = floor + by_size + by_resource
    by_floor = np.broadcast_to(floor * (1 - floor) / LN10, loss.shape)
    columns = [by_floor, by_size, -by_size * alpha * log_n, by_resource, -by_resource * beta * x]
    return np.stack(columns, axis=-1) / loss[..., None]


def _starts(points: Measurements, fit_line: LineFit) -> Floats:
    log_n, x = float(np.log10(points.n).mean()), float(points.x.mean())
    level = np.log10(0.4 * points.loss.mean())
    grid = [
        [logit(fraction * points.loss.min()), level + alpha * log_n, np.log(alpha), level + beta * x, np.log(beta)]
        for fraction in (0.1, 0.7)
        for alpha in (0.1, 0.4)
        for beta in (0.05, 0.2)
    ]
    return np.array(grid, dtype=float)


def _coefficients(p: Floats) -> dict[str, Floats]:
    return {
        "E": expit(p[..., 0]),
        "A": bounded_power10(p[..., 1]),
        "alpha": bounded_exp(p[..., 2]),
        "B": bounded_power10(p[..., 3]),
        "beta": bounded_exp(p[..., 4]),
    }


LAW = CurveLaw(
    name="additive",
    equation="L = E + A/N^alpha + B/X^beta",
    source="arXiv 2203.15556",
    names=("logit E", "log10 A", "ln alpha", "log10 B", "ln beta"),
    per_size=False,
    eta=_eta,
    jacobian=_jacobian,
    starts=_starts,
    coefficients=_coefficients,
    minimum_sizes=3,
)
