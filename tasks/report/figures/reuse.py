"""Data reuse: loss along training for every tau, and the final loss over that of tau = 1 with its 95 % interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.report.canvas import intervals, loss_axis, panels, svg_of
from tasks.report.evidence import Evidence
from tasks.report.figures.smoothing import mean_curve
from tasks.report.palette import ink, ordered

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HARMLESS = 1.05


def draw(evidence: Evidence) -> str | None:
    """Draws the reuse axis; None where the grid has none."""
    variants = [variant for variant in evidence.variants if evidence.reuse_runs(variant)]
    if not variants or not evidence.judged["reuse"]:
        return None
    columns = len(variants) + 1
    with panels("reuse", 1, columns, (3.7 * columns, 3.9)) as (figure, axes):
        for column, variant in enumerate(variants):
            _curves(axes[0, column], evidence, variant)
        low = min(panel.get_ylim()[0] for panel in axes[0, :-1])
        high = max(panel.get_ylim()[1] for panel in axes[0, :-1])
        for panel in axes[0, :-1]:
            panel.set_ylim(low, high)
            loss_axis(panel)
        axes[0, 0].set_ylabel("test loss L")
        _ratios(axes[0, -1], evidence, variants)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper left", ncols=len(labels), title="times each prompt is seen, τ"
        )
        return svg_of(figure)


def _curves(panel: Axes, evidence: Evidence, variant: str) -> None:
    runs = evidence.reuse_runs(variant)
    taus = sorted({log.run.tau for log in runs})
    for tau, colour in zip(taus, ordered(len(taus)), strict=True):
        steps, loss, _ = mean_curve([log for log in runs if log.run.tau == tau], "test_loss")
        panel.plot(steps, loss, color=colour, linewidth=1.5, label=f"{tau}")
    size = runs[0].run.size
    panel.set_title(f"{variant}, N = {size}")
    panel.set_xlabel("step")


def _ratios(panel: Axes, evidence: Evidence, variants: list[str]) -> None:
    """Ratios of the final loss, from findings.json."""
    from matplotlib.ticker import NullLocator

    panel.axhspan(1.0, HARMLESS, color=ink("neutral"), alpha=0.14, linewidth=0)
    panel.axhline(1.0, color=ink("neutral"), linewidth=0.9)
    for variant in variants:
        rows = [row for row in evidence.judged["reuse"] if row["variant"] == variant]
        if not rows:
            continue
        shift = 0.96 if variant == "base" else 1.04
        tau = np.array([row["tau"] for row in rows]) * shift
        intervals(panel, tau, [row["ratio"] for row in rows], ink(variant), variant)
    panel.set_title("final loss / final loss at τ = 1")
    panel.set_xlabel("reuse factor τ")
    panel.legend(loc="upper left")
    taus = sorted({row["tau"] for row in evidence.judged["reuse"]})
    panel.set_xscale("log")
    panel.set_xlim(taus[0] / 1.4, taus[-1] * 1.4)
    panel.set_xticks(taus, [f"{tau:g}" for tau in taus])
    panel.xaxis.set_minor_locator(NullLocator())
