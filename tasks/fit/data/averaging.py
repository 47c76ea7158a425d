"""Large tables as few points: a curve of a size is known as well from means over bins of log step as from every row.

Laws give one curve per size, whatever the run, so rows are averaged over the runs of a size too. Where runs matter (the
draws of `tasks.fit.uncertainty`, the final descent of a fit) every row enters.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tasks.fit.data.measurements import Measurements

# Tables up to this many rows are left as they are.
FEW_ROWS = 5000
_BINS_PER_DECADE = 40


def averaged(points: Measurements) -> Measurements:
    """Means of log X and log L in bins of a size and a fortieth of a decade of steps, with their counts.

    Every size is one run of the result; its steps are those of the bins' means. Up to `FEW_ROWS` rows come back as they
    are.
    """
    if len(points) <= FEW_ROWS:
        return points
    bins = np.floor(_BINS_PER_DECADE * np.log10(np.maximum(points.step, 1))).astype(np.int64)
    keys, cell = np.unique(points.size * (bins.max() + 1) + bins, return_inverse=True)
    count = np.bincount(cell).astype(np.float64)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(cell, weights=values) / count

    size = keys // (bins.max() + 1)
    return replace(
        points,
        n=points.sizes[size],
        resource=10.0 ** mean(points.x),
        loss=np.minimum(10.0 ** mean(points.y), 1.0),
        run=size,
        runs=tuple(points.label(n) for n in points.sizes),
        step=np.rint(mean(points.step)).astype(np.int64),
        trials=None if points.trials is None else np.bincount(cell, weights=points.trials).astype(np.float64),
        count=count,
    )


def thinned(points: Measurements, most: int) -> Measurements:
    """At most so many rows, evenly spaced in the order of sizes, runs and steps."""
    if len(points) <= most:
        return points
    chosen = np.zeros(len(points), dtype=bool)
    chosen[np.linspace(0, len(points) - 1, most).round().astype(np.int64)] = True
    return points.where(chosen)
