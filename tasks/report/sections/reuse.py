"""Data reuse: the curves and the ratio of final losses."""

from __future__ import annotations

from tasks.report.evidence import Evidence
from tasks.report.html import Row, paragraph, table
from tasks.report.numbers import between, change, count, interval
from tasks.report.sections.section import Pictures, Section, section, shown


def build(evidence: Evidence, pictures: Pictures) -> Section:
    """The section."""
    effects = evidence.judged["reuse"]
    if "reuse" not in pictures or not effects:
        return section("reuse", "Data reuse", [paragraph("The grid has no reuse axis.")])
    rows: list[Row] = [
        [
            row["variant"],
            f"{row['tau']:g}",
            between(*(change(row["ratio"][name]) for name in ("value", "low", "high"))),
            interval(row["final"]),
            interval(row["overall"]),
        ]
        for row in effects
    ]
    columns = ["variant", "τ", "final loss against τ = 1", "shift of log L, last fifth", "whole run"]
    caption = (
        "Left: test loss by step, running mean over five steps, mean over seeds at τ = 1; all runs take the same "
        "number of steps. Right: loss over the last fifth of the steps against τ = 1; the grey band is a rise of up to "
        "5 %, which counts as harmless."
    )
    parts = [
        paragraph("At τ every unique prompt is seen τ times in the same number of steps.", _source(evidence)),
        shown(pictures, "reuse", caption, "loss by reuse factor"),
        table(columns, rows, range(1, 5)),
    ]
    return section("reuse", "Data reuse", [*parts, _smallest(evidence)])


def _source(evidence: Evidence) -> str:
    """Where the intervals come from."""
    if evidence.repeated:
        return (
            "Each τ > 1 was run once: its interval takes the variation between runs from the seeds of the scale axis."
        )
    return "Each τ was run once: intervals come from blocks of each run and hold no variation between runs."


def _smallest(evidence: Evidence) -> str:
    """How few unique prompts the most reused run saw."""
    axis = evidence.params.grid.reuse
    if axis is None:
        return ""
    train, tau = evidence.params.train, max(axis.factors)
    seen = train.steps * train.batch
    text = f"At τ = {tau} a run sees {count(seen // tau)} unique prompts instead of {count(seen)}."
    return paragraph(text, class_="note")
