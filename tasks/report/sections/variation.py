"""What the intervals hold: variance of a measured loss by its source, as a table and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tasks.records.variances import VarianceParts
from tasks.report.format import fixed, percent
from tasks.report.html import Html, Row, paragraph, table
from tasks.report.inputs import StudyResults
from tasks.report.sections import Section, figure_or_empty, section
from tasks.report.style import color
from tasks.report.svg import panels, svg_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CAPTION = (
    "Spread (standard deviation, in % of the loss) of one evaluation at the end of a run, by source: between seeds, "
    "and from one evaluation to the next. The ring: between runs of one initial model, where there are several."
)


def build(results: StudyResults) -> Section:
    """The section."""
    if not results.variances:
        text = "Runs have too few evaluations, or sizes too few runs, to tell where the variance of a loss comes from."
        return section("variation", "What the intervals hold", [paragraph(text)])
    figure = draw_variation(results)
    parts = [
        paragraph(held(results.variances), class_="lead"),
        figure_or_empty(figure, CAPTION, "spread of a loss by source"),
        _table(results.variances),
        paragraph(
            "Variances are of log10 L at the end of a run, from two or three degrees of freedom per size: a single row "
            "says little, the rows together more. Shares are of the variance of one evaluation; the law averages many, "
            "so that the answers matter less to it than here.",
            class_="note",
        ),
    ]
    return section("variation", "What the intervals hold", parts, {"variation": figure})


def held(rows: Sequence[VarianceParts]) -> str:
    """Which variation the intervals of the law hold, in a sentence."""
    own = [row.own_models for row in rows]
    if all(own):
        return "Every seed has an initial model of its own: the intervals hold the variation of models and of runs."
    if any(own):
        return "Some sizes have an initial model for every seed: there the intervals hold the variation of models too."
    return "Each size has one initial model: the intervals hold the variation of its runs, not that of models."


def draw_variation(results: StudyResults) -> str | None:
    """Draws the spread between seeds and of the answers by size, one panel per variant."""
    variants = [name for name in results.variants if any(row.variant == name for row in results.variances)]
    with panels("variation", 1, len(variants), (4.2 * len(variants), 2.9), sharey=True) as (figure, axes):
        for panel, variant in zip(axes[0], variants, strict=True):
            _draw_variant(panel, [row for row in results.variances if row.variant == variant])
            panel.set_title(variant)
        axes[0, 0].set_ylabel("spread, % of the loss")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
        return svg_of(figure)


def _draw_variant(panel: Axes, rows: list[VarianceParts]) -> None:
    places = np.arange(len(rows))
    between, answers = ([_spread(value) or 0.0 for value in values]
                        for values in ([row.between_seeds for row in rows], [row.answers for row in rows]))  # fmt: skip
    panel.bar(places - 0.18, between, 0.34, color=color("base"), label="between seeds")
    panel.bar(places + 0.18, answers, 0.34, color=color("instruct"), label="answers")
    rings = [(place - 0.18, _spread(row.between_runs)) for place, row in enumerate(rows)
             if row.own_models and row.between_runs is not None]  # fmt: skip
    panel.plot(*zip(*rings, strict=True) if rings else ([], []), "o", color="black", markerfacecolor="none",
               label="runs of one model")  # fmt: skip
    panel.set_xticks(places, [row.size for row in rows])


def _table(rows: Sequence[VarianceParts]) -> Html:
    columns = ["variant", "size", "seeds", "spread of one evaluation, %", "initial models", "runs of one model",
               "models and runs", "answers"]  # fmt: skip
    lines: list[Row] = []
    for row in rows:
        total = (row.between_seeds or 0.0) + row.answers
        runs = row.between_runs if row.own_models else row.between_seeds
        within = None if runs is None or row.between_seeds is None else min(runs, row.between_seeds)
        parts = (row.models, within, row.between_seeds, row.answers)
        shares = ["–" if part is None or total == 0 else percent(part / total) for part in parts]
        lines.append([row.variant, row.size, str(row.seeds), fixed(_spread(total), 1), *shares])
    return table(columns, lines, range(2, len(columns)))


def _spread(variance: float | None) -> float | None:
    """Standard deviation of log10 L as a percentage of L, 100 ln(10) s."""
    return None if variance is None else float(100 * np.log(10) * np.sqrt(variance))
