"""Every run of the grid in one sortable table."""

from __future__ import annotations

from tasks.records.metrics import StepMetrics
from tasks.records.statistics import wilson_interval
from tasks.report.format import between, compact, count, duration, fixed
from tasks.report.html import Cell, Content, Html, Row, paragraph, table
from tasks.report.inputs import RunLog, StudyResults
from tasks.report.sections import Section, section


def build(results: StudyResults) -> Section:
    """The section."""
    note = (
        "Losses on the held-out problems with 95 % Wilson intervals of that one evaluation. A click on a heading sorts."
    )
    return section("runs", f"All {len(results.runs)} runs", [paragraph(note, class_="note"), _table(results)])


def _table(results: StudyResults) -> Html:
    columns = ["run", "variant", "size", "N", "seed", "τ", "G", "steps", "initial loss", "final loss"]
    columns += ["6NT, FLOPs", "ledger, FLOPs", "tokens", "worker time"]
    return table(columns, [_row(log) for log in results.runs], range(3, len(columns)), sortable=True)


def _row(log: RunLog) -> Row:
    run, evaluated = log.run, [row for row in log.rows if row.test_loss is not None]
    last = log.rows[-1]
    cells: list[Content] = [run.run_id, run.variant, run.size]
    cells += [Cell(count(log.model.n_params), log.model.n_params), str(run.seed), str(run.tau), str(run.group_size)]
    cells += [str(last.step), _loss(evaluated[0]), _loss(evaluated[-1])]
    cells += [Cell(compact(last.compute), last.compute), Cell(compact(last.flops_total), last.flops_total)]
    return [*cells, Cell(count(last.tokens), last.tokens), Cell(duration(log.seconds), log.seconds)]


def _loss(row: StepMetrics) -> Cell:
    assert row.test_loss is not None
    assert row.test_right is not None
    assert row.test_trials
    low, high = wilson_interval(row.test_right / row.test_trials, row.test_trials)
    return Cell(between(fixed(row.test_loss), fixed(1 - high), fixed(1 - low)), row.test_loss)
