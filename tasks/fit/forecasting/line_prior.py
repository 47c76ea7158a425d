"""What the trained sizes say about the line of another one: level at the middle of the trained range, and slope.

Read from the `pivot` law, fitted exactly to the sizes' lines, at a size that is moved towards the trained range,

    N* = N_last (N / N_last)^delta,    delta = 0.7 (1 inside the range; below the smallest size alike),

because k rises from size to size and then hardly: the law's own trend is too optimistic. Its error is what the same
rule got wrong on sizes that it did not see: relative errors e = (level, slope) of each size from the fourth on,
forecast from the smaller ones (each inner size from the others, for N inside the range):

    s^2 = (2 s0^2 + sum e^2) / (2 + n),    s0: 8 % and 25 %,

each Student-t with 3 + n degrees of freedom (a handful of errors says nothing about their correlation), times the
distance in usual size steps where that is above 1. Nothing assumes that the law is true.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tasks.fit.data.measurements import Floats
from tasks.fit.forecasting.family import Family
from tasks.fit.laws import LAWS
from tasks.fit.laws.forms import LineLaw
from tasks.fit.solver.line_statistics import LineStatistics
from tasks.fit.solver.parameters import LineParameters
from tasks.fit.solver.variable_projection import variable_projection

DAMPING = 0.7
_PRIOR_WEIGHT, _LEAST_DOF = 2, 3
_LEVEL_ERROR, _SLOPE_ERROR = 0.08, 0.25
_FEW_LEVEL_ERROR, _FEW_SLOPE_ERROR = 0.15, 0.10
_TINY = 1e-3


@dataclass(frozen=True)
class LinePrior:
    """Student-t distribution of (level, slope) of an unseen curve.

    Attributes:
        mean: level at the family's center and slope, log10 L and log10 L per decade [2].
        scale: squared scale [2, 2].
        dof: degrees of freedom.
        source: where it comes from, in words.
        sibling: index of a curve of the same size, which the line then is relative to; None: it stands alone.
    """

    mean: Floats
    scale: Floats
    dof: int
    source: str
    sibling: int | None = None


def prior_of_size(family: Family, n: float, damping: float = DAMPING) -> LinePrior | None:
    """The prior of a size that has no curve in the family; None where the family is empty."""
    sizes, level, k = family.sizes, family.level, -family.slope
    if not len(sizes):
        return None
    if len(sizes) < 3:
        return _nearest(family, n)
    errors = np.array(list(_errors(sizes, level, k, n, damping))).reshape(-1, 2)
    count = len(errors)
    base = np.array([_LEVEL_ERROR, _SLOPE_ERROR]) ** 2
    relative = (_PRIOR_WEIGHT * base + (errors**2).sum(axis=0)) / (_PRIOR_WEIGHT + count)
    mean = _read(sizes, level, k, n, damping, family.center)
    scale = relative * (np.maximum(np.abs(mean), _TINY) * _distance(sizes, n)) ** 2
    source = f"pivot law on {len(sizes)} sizes, its error from {count} forecast(s) of trained sizes"
    return LinePrior(np.array([mean[0], -mean[1]]), np.diag(scale), _LEAST_DOF + count, source)


def _nearest(family: Family, n: float) -> LinePrior:
    """Below three sizes there is no law: the nearest size's line, and errors that are merely assumed."""
    away = np.abs(np.log10(family.sizes / n))
    nearest = int(np.argmin(away))
    distance = 1.0 + float(away[nearest])
    level, slope = _FEW_LEVEL_ERROR * distance, _FEW_SLOPE_ERROR * distance
    source = (
        f"the line of the nearest of {len(away)} size(s), as a law takes three; assumed errors {level:.2g} in log10 L "
        f"and {slope:.2g} in its slope"
    )
    mean = np.array([family.level[nearest], family.slope[nearest]])
    return LinePrior(mean, np.diag([level**2, slope**2]), _LEAST_DOF, source)


def _distance(sizes: Floats, n: float) -> float:
    """Distance beyond the trained sizes in usual size steps, at least 1."""
    step = float(np.diff(np.log10(sizes)).mean())
    return max(1.0, float(np.log10(n / sizes[-1])) / step, float(np.log10(sizes[0] / n)) / step)


def _errors(sizes: Floats, level: Floats, k: Floats, n: float, damping: float) -> Iterator[tuple[float, float]]:
    """Relative errors of level and slope of the rule on trained sizes."""
    inside = sizes[0] < n < sizes[-1] and len(sizes) > 3
    tested = range(1, len(sizes) - 1) if inside else range(3, len(sizes))
    for index in tested:
        seen = np.arange(len(sizes)) != index if inside else np.arange(len(sizes)) < index
        found = _read(sizes[seen], level[seen], k[seen], float(sizes[index]), damping, 0.0)
        yield (
            float(level[index] - found[0]) / min(float(found[0]), -_TINY),
            float(k[index] - found[1]) / max(abs(float(found[1])), _TINY),
        )


def _read(sizes: Floats, level: Floats, k: Floats, n: float, damping: float, center: float) -> Floats:
    """(level, k) of the pivot law at a damped size [2]; beyond the largest size k is at least that of the largest."""
    law = LAWS["pivot"]
    assert isinstance(law, LineLaw)
    ones, spread = np.ones(len(sizes)), np.full(len(sizes), 0.3)
    lines = LineStatistics(ones, ones * center, level, spread, -k * spread, k**2 * spread)
    fitted = LineParameters.of(law, sizes, lines, variable_projection(law, lines, sizes))
    end = sizes[-1] if n > sizes[-1] else sizes[0]
    at = np.array([n if sizes[0] <= n <= sizes[-1] else end * (n / end) ** damping])
    found = float(fitted.k(at)[0])
    return np.array([float(fitted.predict(at, np.array([center]))[0]), max(found, k[-1]) if n > sizes[-1] else found])
