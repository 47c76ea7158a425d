"""What happened during training: curves, compute by phase, seconds by phase."""

from __future__ import annotations

from collections import Counter

from tasks.report.evidence import Evidence
from tasks.report.html import Html, Row, bar, joined, paragraph, table, tag
from tasks.report.numbers import compact, duration, percent
from tasks.report.sections.section import Pictures, Section, section, shown


def build(evidence: Evidence, pictures: Pictures) -> Section:
    """The section."""
    caption = (
        "Scale axis: mean over seeds, running mean over five steps; the shaded range spans the seeds. Reward is the "
        "share of right rollouts on the step's own problems, which get harder along the curriculum."
    )
    parts = [
        shown(pictures, "training", caption, "reward, length, entropy and KL by step"),
        tag("h3", "Compute and time by phase"),
        _phases(evidence),
    ]
    return section("training", "Training", parts)


def _phases(evidence: Evidence) -> Html:
    flops: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    for log in evidence.runs:
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
    published = sum(log.rows[-1].compute for log in evidence.runs if log.rows)
    note = (
        f"All runs together: 6NT = {compact(published)} FLOPs as published, {compact(whole)} FLOPs in the whole "
        f"ledger, {compact(whole / published if published else None)} times as much; {duration(wall)} of worker time. "
        "Reference passes run inside the update's seconds."
    )
    return joined([table(["phase", "FLOPs", "share", "worker time", "share"], rows, range(1, 5)),
                   paragraph(note, class_="note")])  # fmt: skip
