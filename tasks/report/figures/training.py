"""What happens during training: reward, completion length, entropy, KL by step, mean over the seeds of each size."""

from __future__ import annotations

from tasks.report.canvas import panels, svg_of
from tasks.report.evidence import Evidence
from tasks.report.figures.smoothing import mean_curve
from tasks.report.palette import ordered

CURVES = {
    "reward_mean": "reward",
    "completion_length": "completion length, tokens",
    "entropy": "entropy, nats per token",
    "kl": "KL to the initial policy",
}


def draw(evidence: Evidence) -> str | None:
    """Draws one row of panels per variant; None where no run has a step."""
    variants = [variant for variant in evidence.variants if any(log.rows for log in evidence.scale_runs(variant))]
    if not variants:
        return None
    colours = ordered(len(evidence.sizes))
    with panels("training", len(variants), len(CURVES), (11.2, 2.7 * len(variants) + 0.5), sharex=True) as (
        figure,
        axes,
    ):
        for row, variant in enumerate(variants):
            for column, (name, title) in enumerate(CURVES.items()):
                panel = axes[row, column]
                for size, colour in zip(evidence.sizes, colours, strict=True):
                    steps, mean, span = mean_curve(evidence.scale_runs(variant, size), name)
                    panel.plot(steps, mean, color=colour, linewidth=1.5, label=size)
                    panel.fill_between(steps, *span, color=colour, alpha=0.12, linewidth=0)
                panel.set_title(f"{title}" if row == 0 else "")
                panel.set_xlabel("step" if row == len(variants) - 1 else "")
            axes[row, 0].set_ylabel(variant)
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper center", ncols=len(labels), title="non-embedding parameters N"
        )
        return svg_of(figure)
