"""L = Linf + 10^(-k(N) (log10 X - a - b log10 N)), k(N) = Kmax / (1 + N0/N): `floor` with terms shared by all sizes.

Fitted: Linf in (0, 1) (common floor), Kmax, N0 (parameters), a and b as in `pivot`, which is its limit Linf -> 0.
Forecasts sizes nobody has trained, and does not let their loss fall without end. Source: own, `floor` and `pivot`
together.
"""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Floats, Measurements
from tasks.fit.laws import pivot
from tasks.fit.laws.floor import LN10, expit, logit
from tasks.fit.laws.forms import CurveLaw
from tasks.fit.solver.line_statistics import line_statistics
from tasks.fit.solver.variable_projection import reference_size, variable_projection


def _parts(p: Floats, log_n: Floats, x: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Linf, N0/(N0 + N), k(N), z and the reducible loss 10^z."""
    floor, kmax, t = expit(p[..., 0:1]), np.exp(np.clip(p[..., 1:2], -30, 30)), p[..., 2:3]
    missing = expit(LN10 * (t - log_n))
    k = kmax * (1.0 - missing)
    z = -k * (x - p[..., 3:4] - p[..., 4:5] * log_n)
    return floor, missing, k, z, 10.0 ** np.clip(z, -300.0, 8.0)


def _eta(p: Floats, log_n: Floats, x: Floats) -> Floats:
    floor, _, _, _, rest = _parts(p, log_n, x)
    return np.log10(floor + rest)


def _jacobian(p: Floats, log_n: Floats, x: Floats) -> Floats:
    floor, missing, k, z, rest = _parts(p, log_n, x)
    share = rest / (floor + rest)
    columns = [floor * (1 - floor) / ((floor + rest) * LN10), share * z, -share * z * LN10 * missing]
    return np.stack([*columns, share * k, share * k * log_n], axis=-1)


def _starts(points: Measurements) -> Floats:
    """For a few floors below the smallest loss, the exact `pivot` fit of log(L - floor)."""
    starts, sizes = [], points.sizes
    for share in (0.002, 0.3, 0.6, 0.9):
        floor = share * float(points.loss.min())
        y = np.log10(points.loss - floor)
        lines = line_statistics(points.x, y, np.ones(len(points)), points.size, len(sizes))
        fit = variable_projection(pivot.LAW, lines, sizes)
        named = pivot.LAW.coefficients(fit.theta, fit.beta, reference_size(sizes))
        if named["Kmax"] > 0:
            log_n0 = np.log10(named["N0"])
            starts.append([float(v) for v in (logit(floor), np.log(named["Kmax"]), log_n0, named["a"], named["b"])])
    middle = float(points.x.min()) - 1.0
    usual = [float(logit(0.1)), float(np.log(0.1)), float(np.log10(sizes).mean()), middle, 0.0]
    return np.array(starts or [usual], dtype=np.float64)


def _coefficients(p: Floats) -> dict[str, Floats]:
    n0 = 10.0 ** np.clip(p[..., 2], -300, 300)
    return {
        "Linf": expit(p[..., 0]),
        "Kmax": np.exp(np.clip(p[..., 1], -30, 30)),
        "N0": n0,
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
