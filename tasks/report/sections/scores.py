"""Final policies on the held-out set and the benchmarks, beside the checkpoints they started from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.records.scores import Score
from tasks.report.format import count, fixed, percent
from tasks.report.html import Cell, Html, Row, details, paragraph, table
from tasks.report.inputs import StudyResults
from tasks.report.sections import Section, figure_or_empty, section
from tasks.report.style import color
from tasks.report.svg import panels, svg_of
from tasks.study.policies import initial_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 4
CAPTION = (
    "pass@1 of the trained policies (mean over seeds, mean 95 % Wilson interval of one seed) and of their initial "
    "checkpoints, by size."
)


def build(results: StudyResults) -> Section:
    """The section."""
    settings = results.params.evaluate
    figure = draw_scores(results)
    parts = [
        paragraph(f"Sampled at temperature {settings.temperature:g} with the {settings.engine} engine; pass@k is the "
                  "unbiased estimator, intervals count problems as trials."),
        figure_or_empty(figure, CAPTION, "pass@1 before and after training"),
        details(f"All {len(results.scores)} scores", _table(results)),
    ]  # fmt: skip
    return section("scores", "Benchmarks", parts, {"scores": figure})


def draw_scores(results: StudyResults) -> str | None:
    """Draws pass@1 by size before and after training, one panel per benchmark; None where nothing was evaluated."""
    names = list(dict.fromkeys(score.benchmark for score in results.scores))
    if not names:
        return None
    columns = min(len(names), COLUMNS)
    rows = -(-len(names) // columns)
    with panels("scores", rows, columns, (min(5.3 * columns, 11.2), 3.4 * rows + 0.4)) as (figure, axes):
        for panel, name in zip(axes.flat, names, strict=False):
            _draw_benchmark(panel, results, name)
        for panel in axes.flat[len(names) :]:
            panel.set_visible(False)
        for row in axes:
            row[0].set_ylabel("pass@1")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
        return svg_of(figure)


def _draw_benchmark(panel: Axes, results: StudyResults, benchmark: str) -> None:
    scores = {score.run_id: score for score in results.scores if score.benchmark == benchmark}
    for variant in results.variants:
        shift = -0.12 if variant == "base" else 0.12
        initial: list[tuple[float, float]] = []
        for index, size in enumerate(results.sizes):
            runs = [log.run for log in results.scale_runs(variant, size)]
            starts = dict.fromkeys(initial_name(run.model) for run in runs)
            initial += [(index + shift, scores[name].pass_at_1) for name in starts if name in scores]
            finals = [scores[run.run_id] for run in runs if run.run_id in scores]
            if finals:
                table = np.array([(score.pass_at_1, score.low, score.high) for score in finals])
                mean, low, high = (float(np.mean(column)) for column in table.T)
                label = f"{variant}, trained" if index == 0 else None
                panel.errorbar(index + shift, mean, [[mean - low], [high - mean]], fmt="o", color=color(variant),
                               markersize=5, elinewidth=1.1, label=label)  # fmt: skip
        panel.plot([x for x, _ in initial], [pass_at_1 for _, pass_at_1 in initial], "o", markersize=5,
                   markerfacecolor="none", color=color(variant), label=f"{variant}, initial")  # fmt: skip
    panel.set_xticks(range(len(results.sizes)), results.sizes)
    panel.set_ylim(bottom=0.0)
    panel.set_title(benchmark)


def _table(results: StudyResults) -> Html:
    ks = sorted({int(k) for score in results.scores for k in score.pass_at_k if int(k) > 1})
    columns = ["policy", "benchmark", "problems", "samples each", "pass@1", "95 % interval", "lenient",
               *(f"pass@{k}" for k in ks)]  # fmt: skip
    columns += ["cut short", "mean length", "unjudged", "tokens/s"]
    rows = [_row(score, ks) for score in results.scores]
    return table(columns, rows, range(2, len(columns)), sortable=True)


def _row(score: Score, ks: list[int]) -> Row:
    return [
        score.run_id,
        score.benchmark,
        str(score.problems),
        str(score.samples),
        Cell(fixed(score.pass_at_1), score.pass_at_1),
        f"[{fixed(score.low)}, {fixed(score.high)}]",
        fixed(score.pass_at_1_lenient),
        *(fixed(score.pass_at_k.get(str(k))) for k in ks),
        Cell(percent(score.truncated), score.truncated),
        fixed(score.mean_length, 1),
        str(score.unjudged),
        Cell(count(score.tokens_per_second), score.tokens_per_second),
    ]
