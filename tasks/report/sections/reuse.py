"""Data reuse: loss along training for every tau, and the final loss over that of tau = 1 with its 95 % interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.records.published import HARMLESS
from tasks.report.format import count, interval, relative
from tasks.report.html import Row, paragraph, table
from tasks.report.inputs import StudyResults, mean_curve
from tasks.report.sections import Section, figure_or_empty, section
from tasks.report.style import color, sequential_colors
from tasks.report.svg import draw_estimates, loss_axis, panels, svg_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CAPTION = (
    "Left: test loss by step, running mean over five steps, mean over seeds at τ = 1; all runs take the same "
    "number of steps. Right: loss over the last fifth of the steps against τ = 1; the grey band is a rise of up to "
    "5 %, which counts as harmless."
)


def build(results: StudyResults) -> Section:
    """The section."""
    figure = draw_reuse(results)
    if figure is None:
        return section("reuse", "Data reuse", [paragraph("The grid has no reuse axis.")])
    rows: list[Row] = [
        [row.variant, f"{row.tau:g}", relative(row.ratio), interval(row.final), interval(row.overall)]
        for row in results.reuse
    ]
    columns = ["variant", "τ", "final loss against τ = 1", "shift of log L, last fifth", "whole run"]
    parts = [
        paragraph("At τ every unique prompt is seen τ times in the same number of steps.", _source(results)),
        figure_or_empty(figure, CAPTION, "loss by reuse factor"),
        table(columns, rows, range(1, 5)),
        _smallest(results),
    ]
    return section("reuse", "Data reuse", parts, {"reuse": figure})


def draw_reuse(results: StudyResults) -> str | None:
    """Draws the reuse axis; None where the grid has none."""
    variants = [variant for variant in results.variants if results.reuse_runs(variant)]
    if not variants or not results.reuse:
        return None
    columns = len(variants) + 1
    with panels("reuse", 1, columns, (3.7 * columns, 3.9)) as (figure, axes):
        for column, variant in enumerate(variants):
            _draw_curves(axes[0, column], results, variant)
        low = min(panel.get_ylim()[0] for panel in axes[0, :-1])
        high = max(panel.get_ylim()[1] for panel in axes[0, :-1])
        for panel in axes[0, :-1]:
            panel.set_ylim(low, high)
            loss_axis(panel)
        axes[0, 0].set_ylabel("test loss L")
        _draw_ratios(axes[0, -1], results, variants)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper left", ncols=len(labels), title="times each prompt is seen, τ"
        )
        return svg_of(figure)


def _draw_curves(panel: Axes, results: StudyResults, variant: str) -> None:
    runs = results.reuse_runs(variant)
    taus = sorted({log.run.tau for log in runs})
    for tau, tau_color in zip(taus, sequential_colors(len(taus)), strict=True):
        steps, loss, _ = mean_curve([log for log in runs if log.run.tau == tau], lambda row: row.test_loss)
        panel.plot(steps, loss, color=tau_color, linewidth=1.5, label=f"{tau}")
    size = runs[0].run.size
    panel.set_title(f"{variant}, N = {size}")
    panel.set_xlabel("step")


def _draw_ratios(panel: Axes, results: StudyResults, variants: list[str]) -> None:
    """Ratios of the final loss."""
    from matplotlib.ticker import NullLocator

    panel.axhspan(1.0, 1 + HARMLESS, color=color("neutral"), alpha=0.14, linewidth=0)
    panel.axhline(1.0, color=color("neutral"), linewidth=0.9)
    for variant in variants:
        rows = [row for row in results.reuse if row.variant == variant]
        if not rows:
            continue
        shift = 0.96 if variant == "base" else 1.04
        tau = np.array([row.tau for row in rows]) * shift
        draw_estimates(panel, tau, [row.ratio for row in rows], variant)
    panel.set_title("final loss / final loss at τ = 1")
    panel.set_xlabel("reuse factor τ")
    panel.legend(loc="upper left")
    taus = sorted({row.tau for row in results.reuse})
    panel.set_xscale("log")
    panel.set_xlim(taus[0] / 1.4, taus[-1] * 1.4)
    panel.set_xticks(taus, [f"{tau:g}" for tau in taus])
    panel.xaxis.set_minor_locator(NullLocator())


def _source(results: StudyResults) -> str:
    """Where the intervals come from."""
    if results.repeated:
        return (
            "Each τ > 1 was run once: its interval takes the variation between runs from the seeds of the scale axis."
        )
    return "Each τ was run once: intervals come from blocks of each run and hold no variation between runs."


def _smallest(results: StudyResults) -> str:
    """How few unique prompts the most reused run saw."""
    axis = results.params.grid.reuse
    if axis is None:
        return ""
    train, tau = results.params.train, max(axis.factors)
    seen = train.steps * train.batch
    text = f"At τ = {tau} a run sees {count(seen // tau)} unique prompts instead of {count(seen)}."
    return paragraph(text, class_="note")
