"""Verdict statistics of training, and the audit against a second grader."""

from __future__ import annotations

from tasks.report.auditing import GradingCheck
from tasks.report.html import Html, Row, joined, paragraph, table, tag
from tasks.report.numbers import count, percent
from tasks.report.sections.section import Section, section

NAMES = {
    "graded": "answers graded",
    "right": "right",
    "unjudged": "gold could not be read",
    "timed_out": "given up (time or memory)",
    "fast_path": "decided by the exact path",
    "remembered": "verdict known from an equal pair",
    "retried": "given to a second worker",
}


def build(check: GradingCheck) -> Section:
    """The section."""
    graded = max(check.totals.get("graded", 0), 1)
    rows: list[Row] = [
        [NAMES.get(name, name), count(value), percent(value / graded, 2)] for name, value in check.totals.items()
    ]
    parts = [tag("h3", "Rewards during training"), table(["verdicts", "count", "share"], rows, (1, 2)), *_audit(check)]
    return section("grading", "Grading", parts)


def _audit(check: GradingCheck) -> list[Html]:
    title = tag("h3", "Audit against plain math-verify")
    if not check.summary:
        return [
            title,
            paragraph("The samples of the final evaluation are not on this machine, so nothing was audited."),
        ]
    found = check.summary
    if not found["audited"]:
        return [title, paragraph("None of the drawn answers is mathematics, so nothing was audited.")]
    text = (
        f"Of {count(check.distinct)} distinct (gold, answer) pairs {count(found['audited'])} were graded "
        f"twice, half of them called right if there are so many. Right by our grader: {count(found['right'])}; by "
        f"math-verify: {count(found['second_right'])}; the two differ on {count(found['disagreements'])} "
        f"({percent(found['disagreements'] / found['audited'], 2)})."
    )
    if not check.disagreements:
        return [title, paragraph(text)]
    columns = ["data source", "gold", "answer", "ours", "math-verify", "our reason"]
    keys = ("data_source", "gold", "answer", "ours", "second", "reason")
    rows: list[Row] = [[str(row[key]) for key in keys] for row in check.disagreements]
    shown = f"The first {len(rows)} of them:" if len(rows) < found["disagreements"] else "All of them:"
    return [title, paragraph(text), joined([paragraph(shown), table(columns, rows)])]
