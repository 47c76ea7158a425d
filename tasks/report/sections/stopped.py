"""Runs that were stopped by forecast: why, what was saved by it and what it may have cost."""

from __future__ import annotations

from tasks.records.stopping import StoppedRun
from tasks.report.format import compact, fixed, percent
from tasks.report.html import Cell, Html, Row, paragraph, table
from tasks.report.inputs import RunLog, StudyResults
from tasks.report.sections import Section, section


def build(results: StudyResults) -> Section:
    """The section; for studies with `train.stopping`."""
    stopped = [(log, log.stopped) for log in results.runs if log.stopped is not None]
    if not stopped:
        return section("stopped", "Stopped runs", [paragraph("No run was stopped: none was dominated.")])
    regret = sum(record.regret for _, record in stopped)
    saved = sum(_saved(log) for log, _ in stopped)
    spent = sum(log.rows[-1].flops_total for log in results.runs)
    summary = (
        f"{len(stopped)} of {len(results.runs)} runs were stopped because they could hardly end below the favorite of "
        f"their comparison. That saved {compact(saved)} FLOPs of the ledger, {percent(saved / (saved + spent))} of "
        "what all runs would have taken; the forecasts expect that it gave away "
        f"{fixed(regret / len(stopped), 4)} of loss a run."
    )
    note = (
        "Chance: that the run would have ended below the favorite, from its own points. Regret: expected loss given "
        "away, the mean of what it might have ended below the favorite by. A decision depends on the runs beside it."
    )
    return section("stopped", "Stopped runs", [paragraph(summary), _table(stopped), paragraph(note, class_="note")])


def _saved(log: RunLog) -> float:
    """FLOPs of the steps that were not made, each as the mean of those that were."""
    return log.rows[-1].flops_total * (log.run.steps / log.rows[-1].step - 1.0)


def _table(stopped: list[tuple[RunLog, StoppedRun]]) -> Html:
    columns = ["run", "stopped at", "of", "forecast loss", "favorite's", "chance", "regret", "favorite"]
    return table(columns, [_row(log, record) for log, record in stopped], range(1, 7), sortable=True)


def _row(log: RunLog, record: StoppedRun) -> Row:
    numbers = [Cell(fixed(value, digits), value) for value, digits in (
        (record.loss, 3), (record.favorite_loss, 3), (record.chance, 4), (record.regret, 4)
    )]  # fmt: skip
    return [log.run.run_id, str(record.step), str(record.planned), *numbers, record.favorite]
