"""What happened during training: curves, compute by phase, seconds by phase."""

from __future__ import annotations

from collections import Counter

from tasks.report.format import compact, duration, percent
from tasks.report.html import Html, Row, bar, joined, paragraph, table, tag
from tasks.report.inputs import Metric, StudyResults, mean_curve
from tasks.report.sections import Section, figure_or_empty, section
from tasks.report.style import sequential_colors
from tasks.report.svg import panels, svg_of

CURVES: tuple[tuple[str, Metric], ...] = (
    ("reward", lambda row: row.reward_mean),
    ("completion length, tokens", lambda row: row.completion_length),
    ("entropy, nats per token", lambda row: row.entropy),
    ("KL to the initial policy", lambda row: row.kl),
)
CAPTION = (
    "Scale axis: mean over seeds, running mean over five steps; the shaded range spans the seeds. Reward is the "
    "share of right rollouts on the step's own problems, which get harder along the curriculum."
)


def build(results: StudyResults) -> Section:
    """The section."""
    figure = draw_training(results)
    parts = [
        figure_or_empty(figure, CAPTION, "reward, length, entropy and KL by step"),
        tag("h3", "Compute and time by phase"),
        _phases(results),
    ]
    return section("training", "Training", parts, {"training": figure})


def draw_training(results: StudyResults) -> str | None:
    """Draws one row of panels per variant, mean over the seeds of each size; None where no run has a step."""
    variants = [variant for variant in results.variants if any(log.rows for log in results.scale_runs(variant))]
    if not variants:
        return None
    height = 2.7 * len(variants) + 0.5
    with panels("training", len(variants), len(CURVES), (11.2, height), sharex=True) as (figure, axes):
        for row, variant in enumerate(variants):
            for column, (title, metric) in enumerate(CURVES):
                panel = axes[row, column]
                for size, size_color in zip(results.sizes, sequential_colors(len(results.sizes)), strict=True):
                    steps, mean, span = mean_curve(results.scale_runs(variant, size), metric)
                    panel.plot(steps, mean, color=size_color, linewidth=1.5, label=size)
                    panel.fill_between(steps, *span, color=size_color, alpha=0.12, linewidth=0)
                panel.set_title(title if row == 0 else "")
                panel.set_xlabel("step" if row == len(variants) - 1 else "")
            axes[row, 0].set_ylabel(variant)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper center", ncols=len(labels), title="non-embedding parameters N"
        )
        return svg_of(figure)


def _phases(results: StudyResults) -> Html:
    flops: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for log in results.runs:
        for row in log.rows:
            flops.update(row.flops)
            seconds.update(row.seconds)
    whole, wall = max(sum(flops.values()), 1.0), max(sum(seconds.values()), 1e-9)
    rows: list[Row] = [
        [
            phase,
            compact(flops.get(phase)),
            joined([percent(flops[phase] / whole), bar(flops[phase] / whole)], " ") if phase in flops else "–",
            duration(seconds[phase]) if phase in seconds else "–",
            joined([percent(seconds[phase] / wall), bar(seconds[phase] / wall)], " ") if phase in seconds else "–",
        ]
        for phase in dict.fromkeys([*flops, *seconds])
    ]
    published = sum(log.rows[-1].compute for log in results.runs if log.rows)
    note = (
        f"All runs together: 6NT = {compact(published)} FLOPs as published, {compact(whole)} FLOPs in the whole "
        f"ledger, {compact(whole / published if published else None)} times as much; {duration(wall)} of worker time. "
        "Reference passes run inside the update's seconds."
    )
    return joined([table(["phase", "FLOPs", "share", "worker time", "share"], rows, range(1, 5)),
                   paragraph(note, class_="note")])  # fmt: skip
