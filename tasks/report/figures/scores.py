"""pass@1 before and after training, by benchmark and size: mean over seeds, with the mean Wilson interval of a seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.records.scores import Score
from tasks.report.canvas import panels, svg_of
from tasks.report.evidence import Evidence
from tasks.report.palette import ink
from tasks.study.policies import initial_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 4


def draw(evidence: Evidence) -> str | None:
    """Draws one panel per benchmark; None where nothing was evaluated."""
    names = list(dict.fromkeys(score.benchmark for score in evidence.scores))
    if not names:
        return None
    columns = min(len(names), COLUMNS)
    rows = -(-len(names) // columns)
    with panels("scores", rows, columns, (min(5.3 * columns, 11.2), 3.4 * rows + 0.4)) as (figure, axes):
        for panel, name in zip(axes.flat, names, strict=False):
            _benchmark(panel, evidence, name)
        for panel in axes.flat[len(names) :]:
            panel.set_visible(False)
        for row in axes:
            row[0].set_ylabel("pass@1")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
        return svg_of(figure)


def _benchmark(panel: Axes, evidence: Evidence, benchmark: str) -> None:
    scores = {score.run_id: score for score in evidence.scores if score.benchmark == benchmark}
    for variant in evidence.variants:
        shift = -0.12 if variant == "base" else 0.12
        before: list[tuple[float, Score]] = []
        for place, size in enumerate(evidence.sizes):
            start = scores.get(initial_name(f"{size}-{variant}"))
            if start is not None:
                before.append((place + shift, start))
            finals = [scores[log.run.run_id] for log in evidence.scale_runs(variant, size) if log.run.run_id in scores]
            if finals:
                mean = float(np.mean([score.pass_at_1 for score in finals]))
                low, high = (float(np.mean([getattr(score, end) for score in finals])) for end in ("low", "high"))
                label = f"{variant}, trained" if place == 0 else None
                panel.errorbar(place + shift, mean, [[mean - low], [high - mean]], fmt="o", color=ink(variant),
                               markersize=5, elinewidth=1.1, label=label)  # fmt: skip
        panel.plot([x for x, _ in before], [score.pass_at_1 for _, score in before], "o", markersize=5,
                   markerfacecolor="none", color=ink(variant), label=f"{variant}, initial")  # fmt: skip
    panel.set_xticks(range(len(evidence.sizes)), evidence.sizes)
    panel.set_ylim(bottom=0.0)
    panel.set_title(benchmark)
