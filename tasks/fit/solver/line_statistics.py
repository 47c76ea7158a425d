"""Sufficient statistics of weighted straight lines, one per size: all a law linear in log X needs to know.

For size i with weights w: n = sum w, mx and my the weighted means of x and y, cxx, cxy, cyy the weighted centered sums.
Arrays end in the axis of sizes and may carry leading axes (bootstrap draws).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.fit.data.measurements import Floats, Ints


@dataclass(frozen=True)
class LineStatistics:
    """Statistics by size, each [..., S]."""

    n: Floats
    mx: Floats
    my: Floats
    cxx: Floats
    cxy: Floats
    cyy: Floats

    @property
    def slope(self) -> Floats:
        """Least-squares slope d log L / d log X by size; 0 where X does not vary."""
        return np.divide(self.cxy, self.cxx, out=np.zeros_like(self.cxy), where=self.cxx > 0)

    def shifted(self, level: Floats, slope: Floats) -> LineStatistics:
        """The same x with each line shifted by `level` at its centre and tilted by `slope` [..., S].

        cyy keeps the scatter about the line, so that sums of squares stay those of shifted points.
        """
        tilted = self.cxy + slope * self.cxx
        scatter = self.cyy - self.slope * self.cxy
        return LineStatistics(
            self.n, self.mx, self.my + level, self.cxx, tilted, scatter + (self.slope + slope) * tilted
        )


def line_statistics(x: Floats, y: Floats, weight: Floats, group: Ints, groups: int) -> LineStatistics:
    """Statistics of the groups (sizes or runs) of points.

    Args:
        x: log10 X [P].
        y: log10 L or a working response [P].
        weight: non-negative weights [P].
        group: index of each point's group [P].
        groups: how many groups there are, G.

    Returns:
        Statistics with arrays of shape [G]. Centred in a second pass, so that no digits cancel.
    """

    def total(values: Floats) -> Floats:
        return np.bincount(group, weights=values, minlength=groups).astype(np.float64, copy=False)

    n = total(weight)
    safe = np.where(n > 0, n, 1.0)
    mx, my = total(weight * x) / safe, total(weight * y) / safe
    dx, dy = x - mx[group], y - my[group]
    return LineStatistics(n, mx, my, total(weight * dx * dx), total(weight * dx * dy), total(weight * dy * dy))
