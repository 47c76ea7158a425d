"""L = Linf + 10^(-k(N) (log10 X - a - b log10 N)), k(N) = Kmax / (1 + N0/N): `floor` with terms shared by all sizes.

Fitted: Linf in (0, 1) (common floor), Kmax, N0 (parameters), a and b as in `pivot`, which is its limit Linf -> 0.
Forecasts sizes nobody has trained, and does not let their loss fall without end. Source: own, `floor` and `pivot`
together.
"""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Floats, Measurements
from tasks.fit.laws import pivot
from tasks.fit.laws.forms import LN10, CurveLaw, LineFit, bounded_exp, bounded_power10, expit, logit


def _parts(p: Floats, log_n: Floats, x: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Linf, N0/(N0 + N), k(N), z and the reducible loss 10^z."""
    floor, kmax, t = expit(p[..., 0:1]), bounded_exp(p[..., 1:2]), p[..., 2:3]
    missing = expit(LN10 * (t - log_n))
    k = kmax * (1.0 - missing)
    z = -k * (x - p[..., 3:4] - p[..., 4:5] * log_n)
    return floor, missing, k, z, 10.0 ** np.clip(z, -300.0, 8.0)


def _eta(p: Floats, log_n: Floats, x: Floats) -> Floats:
    floor, _, _, _, reducible = _parts(p, log_n, x)
    return np.log10(floor + reducible)


def _jacobian(p: Floats, log_n: Floats, x: Floats) -> Floats:
    floor, missing, k, z, reducible = _parts(p, log_n, x)
    fraction = reducible / (floor + reducible)
    columns = [floor * (1 - floor) / ((floor + reducible) * LN10), fraction * z, -fraction * z * LN10 * missing]
    return np.stack([*columns, fraction * k, fraction * k * log_n], axis=-1)


def _starts(points: Measurements, fit_line: LineFit) -> Floats:
    """For a few floors below the smallest loss, the exact `pivot` fit of log(L - floor)."""
    starts = []
    for fraction in (0.002, 0.3, 0.6, 0.9):
        floor = fraction * float(points.loss.min())
        named = fit_line(pivot.LAW, points, np.log10(points.loss - floor))
        if named["Kmax"] > 0:
            log_n0 = np.log10(named["N0"])
            starts.append([float(v) for v in (logit(floor), np.log(named["Kmax"]), log_n0, named["a"], named["b"])])
    before = float(points.x.min()) - 1.0
    default = [float(logit(0.1)), float(np.log(0.1)), float(np.log10(points.sizes).mean()), before, 0.0]
    return np.array(starts or [default], dtype=np.float64)


def _coefficients(p: Floats) -> dict[str, Floats]:
    return {
        "Linf": expit(p[..., 0]),
        "Kmax": bounded_exp(p[..., 1]),
        "N0": bounded_power10(p[..., 2]),
        "a": p[..., 3],
        "b": p[..., 4],
    }


LAW = CurveLaw(
    name="floor_shared",
    equation="L = Linf + 10^(-Kmax/(1 + N0/N) (log X - a - b log N))",
    source="own; floor and pivot together",
    names=("logit Linf", "ln Kmax", "log10 N0", "a", "b"),
    per_size=False,
    eta=_eta,
    jacobian=_jacobian,
    starts=_starts,
    coefficients=_coefficients,
    minimum_sizes=3,
)
