"""Verdict statistics of training, and the audit against a second grader."""

from __future__ import annotations

from tasks.report.format import count, percent
from tasks.report.grading_check import GradingCheck
from tasks.report.html import Html, Row, joined, paragraph, table, tag
from tasks.report.sections import Section, section

LISTED = 20
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
    audit = check.audit
    if audit is None:
        return [
            title,
            paragraph("The samples of the final evaluation are not on this machine, so nothing was audited."),
        ]
    if not audit.audited:
        return [title, paragraph("None of the drawn answers is mathematics, so nothing was audited.")]
    number = len(audit.disagreements)
    text = (
        f"Of {count(check.distinct)} distinct (gold, answer) pairs {count(audit.audited)} were graded "
        f"twice, half of them called right if there are so many. Right by our grader: {count(audit.stats.right)}; by "
        f"math-verify: {count(audit.reference_stats.right)}; the two differ on {count(number)} "
        f"({percent(number / audit.audited, 2)})."
    )
    if not number:
        return [title, paragraph(text)]
    columns = ["data source", "gold", "answer", "ours", "math-verify", "our reason"]
    rows: list[Row] = [
        [row.data_source, row.gold, row.answer, row.ours, row.second, row.reason]
        for row in audit.disagreements[:LISTED]
    ]
    lead = f"The first {len(rows)} of them:" if len(rows) < number else "All of them:"
    return [title, paragraph(text), joined([paragraph(lead), table(columns, rows)])]
