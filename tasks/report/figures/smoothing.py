"""Curves of several runs as one: mean over runs, then a centred running mean over steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.report.evidence import Floats, RunLog

WINDOW = 5


def mean_curve(runs: Sequence[RunLog], name: str) -> tuple[Floats, Floats, Floats]:
    """Mean curve of a metric over runs.

    Args:
        runs: runs that recorded the metric at the same steps; steps that not all of them have are left out.
        name: a field of `StepMetrics`.

    Returns:
        Steps, the mean smoothed over `WINDOW` steps, and the smallest and largest smoothed run at each step [2, S].
    """
    curves = [dict(zip(*(part.tolist() for part in log.curve(name)), strict=True)) for log in runs]
    steps = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    values = np.array([[curve[step] for step in steps] for curve in curves]).reshape(len(curves), len(steps))
    smooth = np.stack([running_mean(row) for row in values]) if len(steps) else values
    return np.array(steps), smooth.mean(axis=0), np.stack([smooth.min(axis=0), smooth.max(axis=0)])


def running_mean(values: Floats, window: int = WINDOW) -> Floats:
    """Centred mean over `window` values; at the ends over as many as there are on both sides."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    places = np.arange(len(values))
    reach = np.minimum(np.minimum(places, len(values) - 1 - places), window // 2)
    return (sums[places + reach + 1] - sums[places - reach]) / (2 * reach + 1)
