"""L = Linf + (X0/X)^k for every size: a power law towards a floor instead of towards zero.

Fitted for each size: Linf in (0, 1) (loss that no amount of X removes), X0 (the resource, in units of X, at which the
reducible part would be 1) and k > 0 (dimensionless). Source: the usual form of pre-training laws (arXiv 2001.08361,
2203.15556). Needs trajectories that bend to tell Linf from k.
"""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Floats, Measurements
from tasks.fit.laws.forms import LN10, CurveLaw, LineFit, bounded_exp, bounded_power10, expit, logit


def _parts(p: Floats, x: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Linf, k, z = -k (x - log10 X0) and the reducible loss 10^z."""
    k = bounded_exp(p[..., 2:3])
    z = -k * (x - p[..., 1:2])
    return expit(p[..., 0:1]), k, z, 10.0 ** np.clip(z, -300.0, 8.0)


def _eta(p: Floats, log_n: Floats, x: Floats) -> Floats:
    floor, _, _, reducible = _parts(p, x)
    return np.log10(floor + reducible)


def _jacobian(p: Floats, log_n: Floats, x: Floats) -> Floats:
    floor, k, z, reducible = _parts(p, x)
    loss = floor + reducible
    return np.stack([floor * (1 - floor) / (loss * LN10), reducible / loss * k, reducible / loss * z], axis=-1)


def _starts(points: Measurements, fit_line: LineFit) -> Floats:
    """For a few floors below the smallest loss, the straight line of log(L - floor)."""
    starts = []
    for fraction in (0.002, 0.25, 0.5, 0.75, 0.95):
        floor = fraction * float(points.loss.min())
        slope, level = np.polyfit(points.x, np.log10(points.loss - floor), 1)
        k = max(-slope, 1e-3)
        starts.append([logit(floor), level / k if slope < 0 else points.x.mean(), np.log(k)])
    return np.array(starts, dtype=float)


def _coefficients(p: Floats) -> dict[str, Floats]:
    return {
        "Linf": expit(p[..., 0]),
        "X0": bounded_power10(p[..., 1]),
        "k": bounded_exp(p[..., 2]),
    }


LAW = CurveLaw(
    name="floor",
    equation="L = Linf_i + (X0_i/X)^k_i",
    source="arXiv 2001.08361, 2203.15556",
    names=("logit Linf", "log10 X0", "ln k"),
    per_size=True,
    eta=_eta,
    jacobian=_jacobian,
    starts=_starts,
    coefficients=_coefficients,
    minimum_sizes=1,
)
