"""Verdict statistics of training, and the audit against two other graders."""

from __future__ import annotations

from tasks.grading.audit import Audit
from tasks.report.format import count, percent
from tasks.report.grading_check import GradingCheck
from tasks.report.html import Html, Row, joined, paragraph, table, tag
from tasks.report.sections import Section, section

LISTED = 20
NAMES = {
    "graded": "answers graded",
    "right": "right, in their form",
    "right_lenient": "right final answer, in its form or not",
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
    title = tag("h3", "Audit against plain math-verify and an independent reader")
    audit = check.audit
    if audit is None:
        return [
            title,
            paragraph("The samples of the final evaluation are not on this machine, so nothing was audited."),
        ]
    if not audit.audited:
        return [title, paragraph("None of the drawn answers is mathematics, so nothing was audited.")]
    text = (
        f"Of {count(check.distinct)} distinct (gold, answer) pairs {count(audit.audited)} were graded "
        f"twice more, half of them called right if there are so many. Right, in a box or not, by our grader: "
        f"{count(audit.stats.right_lenient)}; by math-verify: {count(audit.reference_stats.right_lenient)}; "
        f"the two differ on {_of(len(audit.disagreements), audit)}. "
        f"The independent reader, which shares no parser with either, could tell about "
        f"{_of(audit.reader_judged, audit)} and differs from us on {_of(len(audit.reading_disagreements), audit)}."
    )
    common = ["data source", "gold", "answer", "ours"]
    return [
        title,
        paragraph(text),
        *_listed("math-verify", [*common, "math-verify", "our reason"], audit.rows()),
        *_listed(
            "the independent reader",
            [*common, "reader", "read as (answer against gold)", "our reason"],
            audit.reading_rows(),
        ),
    ]


def _of(number: int, audit: Audit) -> str:
    return f"{count(number)} ({percent(number / audit.audited, 2)})"


def _listed(grader: str, columns: list[str], disagreements: list[dict[str, object]]) -> list[Html]:
    """The first disagreements with one grader, without their row numbers; nothing where there are none."""
    if not disagreements:
        return []
    rows: list[Row] = [[str(value) for name, value in each.items() if name != "row"] for each in disagreements[:LISTED]]
    number = len(disagreements)
    lead = f"The first {len(rows)}" if len(rows) < number else "All"
    return [joined([paragraph(f"{lead} of the differences from {grader}:"), table(columns, rows)])]
