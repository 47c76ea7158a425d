"""Learning efficiency k(N): each size fitted alone with its 95 % interval, and the fitted law's curve with its band."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.records.fits import FitRecord
from tasks.report.format import count, interval
from tasks.report.html import Html, Row, details, table
from tasks.report.inputs import StudyResults
from tasks.report.style import color
from tasks.report.svg import draw_estimates, log_axis, panels, svg_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CAPTION = (
    "Dots: k of each size fitted alone, with its 95 % interval. Curve and band: k(N) of the fitted law. A curve that "
    "misses the dots is a law that does not fit."
)
# Factors that keep the dots of the variants apart.
SHIFT = {"base": 0.97, "instruct": 1.03}


def size_details(fits: list[FitRecord]) -> Html:
    """k and E of every size in a table that is folded away."""
    columns = ["variant", "against", "size", "N", "k of the law", "k fitted alone", "E", "runs", "points"]
    rows: list[Row] = [
        [
            fit.variant,
            fit.resource,
            slope.size,
            count(slope.n),
            interval(slope.k),
            interval(slope.k_alone) if slope.k_alone else "–",
            interval(slope.level) if slope.level else "–",
            str(slope.runs),
            count(slope.points),
        ]
        for fit in fits
        for slope in fit.by_size
    ]
    return details("k and E of every size", table(columns, rows, range(3, 9)))


def draw_learning(results: StudyResults) -> str | None:
    """Draws k(N), one panel per resource."""
    resources = [name for name in results.resources if any(results.primary(v, name) for v in results.variants)]
    if not resources:
        return None
    with panels("learning", 1, len(resources), (5.3 * len(resources), 3.9), sharey=True) as (figure, axes):
        for panel, resource in zip(axes[0], resources, strict=True):
            for variant in results.variants:
                fit = results.primary(variant, resource)
                if fit is not None:
                    _draw_fit(panel, results, fit)
            panel.axhline(0.0, color=color("neutral"), linewidth=0.8)
            panel.set_title(f"k from loss against {resource}")
            panel.set_xlabel("non-embedding parameters N")
            log_axis(panel)
        axes[0, 0].set_ylabel("learning efficiency k(N)")
        axes[0, 0].legend(loc="upper left")
        return svg_of(figure)


def _draw_fit(panel: Axes, results: StudyResults, fit: FitRecord) -> None:
    """Dots of one variant; curve and band where the law is k(N) = Kmax / (1 + N0/N)."""
    n = np.array([slope.n for slope in fit.by_size])
    dots = [(slope.n, slope.k_alone) for slope in fit.by_size if slope.k_alone is not None]
    places = np.array([place for place, _ in dots]) * SHIFT[fit.variant]
    draw_estimates(panel, places, [alone for _, alone in dots], fit.variant)
    kmax, n0 = (fit.coefficients[name].value if name in fit.coefficients else None for name in ("Kmax", "N0"))
    if kmax is None or n0 is None:
        return
    curve_n = np.geomspace(n.min() / 1.5, n.max() * 1.5, 60)
    panel.plot(curve_n, kmax / (1 + n0 / curve_n), color=color(fit.variant))
    kmaxs, n0s = (results.draws_of(fit.variant, fit.resource, name)[:, None] for name in ("Kmax", "N0"))
    if len(kmaxs):
        low, high = np.quantile(kmaxs / (1 + n0s / curve_n), [0.025, 0.975], axis=0)
        panel.fill_between(curve_n, low, high, color=color(fit.variant), alpha=0.15, linewidth=0)
