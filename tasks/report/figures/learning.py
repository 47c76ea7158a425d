"""Learning efficiency k(N): each size fitted alone with its 95 % interval, and the fitted law's curve with its band."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.report.canvas import intervals, log_axis, panels, svg_of
from tasks.report.evidence import Evidence
from tasks.report.palette import ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHIFT = {"base": 0.97, "instruct": 1.03}


def draw(evidence: Evidence) -> str | None:
    """Draws k(N), one panel per resource."""
    resources = [name for name in evidence.resources if any(evidence.primary(v, name) for v in evidence.variants)]
    if not resources:
        return None
    with panels("learning", 1, len(resources), (5.3 * len(resources), 3.9), sharey=True) as (figure, axes):
        for panel, resource in zip(axes[0], resources, strict=True):
            for variant in evidence.variants:
                _variant(panel, evidence, variant, resource)
            panel.axhline(0.0, color=ink("neutral"), linewidth=0.8)
            panel.set_title(f"k from loss against {resource}")
            panel.set_xlabel("non-embedding parameters N")
            log_axis(panel)
        axes[0, 0].set_ylabel("learning efficiency k(N)")
        axes[0, 0].legend(loc="upper left")
        return svg_of(figure)


def _variant(panel: Axes, evidence: Evidence, variant: str, resource: str) -> None:
    fit = evidence.primary(variant, resource)
    if fit is None:
        return
    colour = ink(variant)
    n = np.array([row["n"] for row in fit["by_size"]])
    intervals(panel, n * SHIFT[variant], [row["k_alone"] for row in fit["by_size"]], colour, variant)
    if {"Kmax", "N0"} <= set(fit["coefficients"]):
        along = np.geomspace(n.min() / 1.5, n.max() * 1.5, 60)
        kmax, n0 = (fit["coefficients"][name]["value"] for name in ("Kmax", "N0"))
        panel.plot(along, kmax / (1 + n0 / along), color=colour)
        kmaxs, n0s = (evidence.drawn(variant, resource, name)[:, None] for name in ("Kmax", "N0"))
        if len(kmaxs):
            bounds = np.quantile(kmaxs / (1 + n0s / along), [0.025, 0.975], axis=0)
            panel.fill_between(along, *bounds, color=colour, alpha=0.15, linewidth=0)
