"""Loss against compute or data, one panel per variant: measured points, fitted lines, 95 % bands.

A dot is the mean over seeds and over the steps that fall into one of `BINS` equal parts of log X; the fit itself uses
every step of every run. The band is that of the fitted line (run-to-run variation), not of single measurements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.report.canvas import log_axis, loss_axis, panels, svg_of
from tasks.report.evidence import Evidence, Floats
from tasks.report.palette import ordered

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 22
AXIS = {"compute": "training compute C = 6NT, FLOPs", "data": "data D, prompts seen"}


def draw(evidence: Evidence, resource: str) -> str | None:
    """Draws the law along one resource."""
    variants = [variant for variant in evidence.variants if evidence.primary(variant, resource)]
    if not variants:
        return None
    with panels(f"law-{resource}", 1, len(variants), (5.3 * len(variants), 4.3), sharey=True) as (figure, axes):
        for column, variant in enumerate(variants):
            panel: Axes = axes[0, column]
            for size, colour in zip(evidence.sizes, ordered(len(evidence.sizes)), strict=True):
                _size(panel, evidence, (variant, resource, size), colour)
            panel.set_title(variant)
            panel.set_xlabel(AXIS.get(resource, resource))
            log_axis(panel)
        for panel in axes[0]:
            loss_axis(panel)
        axes[0, 0].set_ylabel("test loss L = 1 − pass@1")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper center", ncols=len(labels), title="non-embedding parameters N"
        )
        return svg_of(figure)


def binned(x: Floats, loss: Floats) -> tuple[Floats, Floats]:
    """Geometric mean of X and mean loss in `BINS` equal parts of log X; empty parts are left out."""
    logs = np.log10(x)
    edges = np.linspace(logs.min(), logs.max(), BINS + 1)
    place = np.clip(np.digitize(logs, edges) - 1, 0, BINS - 1)
    count = np.bincount(place, minlength=BINS)
    kept = count > 0
    mean = np.bincount(place, weights=loss, minlength=BINS)[kept] / count[kept]
    centre = np.bincount(place, weights=logs, minlength=BINS)[kept] / count[kept]
    return 10.0**centre, mean


def _size(panel: Axes, evidence: Evidence, key: tuple[str, str, str], colour: str) -> None:
    """One size: dots, line, band."""
    variant, resource, size = key
    points = evidence.points
    chosen = (points["variant"] == variant) & (points["size"] == size) & (points["tau"] == 1) & (points[resource] > 0)
    chosen &= points["group_size"] == evidence.params.train.group_size
    fit = evidence.primary(variant, resource)
    row = next((entry for entry in fit["by_size"] if entry["size"] == size), None) if fit else None
    if not chosen.any() or fit is None or row is None:
        return
    x = np.asarray(points[resource][chosen], dtype=float)
    panel.plot(
        *binned(x, points["test_loss"][chosen]), "o", color=colour, markersize=3.6, alpha=0.75, markeredgewidth=0
    )
    ends = np.geomspace(x.min(), x.max(), 24)
    level = _level(fit, row)
    panel.plot(ends, 10.0 ** (level - row["k"]["value"] * np.log10(ends)), color=colour, label=size)
    k, levels = evidence.drawn(variant, resource, f"k:{size}"), evidence.drawn(variant, resource, f"E:{size}")
    if len(k) and len(k) == len(levels):
        drawn = levels[:, None] - k[:, None] * np.log10(ends)
        low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
        panel.fill_between(ends, 10.0**low, 10.0**high, color=colour, alpha=0.16, linewidth=0)


def _level(fit: dict[str, Any], row: dict[str, Any]) -> float:
    """E of a size; for `pivot`, which has no free levels, k (a + b log N)."""
    if row["level"] is not None:
        return float(row["level"]["value"])
    a, b = (fit["coefficients"][name]["value"] for name in ("a", "b"))
    return float(row["k"]["value"] * (a + b * np.log10(row["n"])))
