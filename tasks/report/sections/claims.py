"""The four published claims and what this study says about them: verdicts straight from findings.json."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.records.findings import Finding
from tasks.records.published import CLAIMS, SOURCE
from tasks.report.html import SIGNS, Html, Row, badge, details, joined, paragraph, table, tag
from tasks.report.inputs import StudyResults
from tasks.report.sections import Section, section
from tasks.report.text import (
    VERDICTS,
    count_verdicts,
    effect_label,
    effect_text,
    finding_name,
    headline,
    sentence,
    slope_text,
    tested_on,
)


def build(results: StudyResults) -> Section:
    """The section."""
    findings = results.findings
    cards = [_card(claim, [row for row in findings if row.claim == claim]) for claim in CLAIMS]
    rule = "What a verdict needs is said under Why; whatever is not decided by its interval is called undecided."
    parts = [
        paragraph(headline(findings), class_="lead"),
        *(paragraph(slope_text(fit)) for fit in results.primary_fits if fit.resource == "compute"),
        tag("div", joined(cards), class_="cards"),
        paragraph(f"The claims are those of {SOURCE}.", rule, _source(results), class_="note"),
        details("Every test, with its effect, interval and rule", _table(findings)),
    ]
    return section("findings", "Findings", parts)


def _source(results: StudyResults) -> str:
    """Where intervals come from."""
    if results.repeated:
        return "Intervals come from the variation between runs, not from the scatter of single points."
    return "With one run per size, intervals come from blocks of that run and hold no variation between runs."


def _card(claim: int, findings: Sequence[Finding]) -> Html:
    counts = count_verdicts(findings)
    badges = [badge(name, counts[name]) for name in VERDICTS if counts[name]]
    parts = [
        tag("div", f"Claim {claim}", class_="kicker"),
        tag("h3", CLAIMS[claim]),
        tag("p", sentence(findings)),
        tag("div", joined(badges), class_="pills"),
        _effects(findings) if findings else Html(""),
        details("Why", _reasons(findings)) if findings else Html(""),
    ]
    return tag("article", joined(part for part in parts if part), class_="card")


def _effects(findings: Sequence[Finding]) -> Html:
    """The measured effects, one line per test, under a heading per kind of effect."""
    lines, heading = [], ""
    for finding in sorted(findings, key=finding_name):
        if effect_label(finding) != heading:
            heading = effect_label(finding)
            lines.append(tag("li", heading, class_="kind"))
        sign = tag("span", SIGNS[finding.verdict], class_=f"sign {finding.verdict}", title=finding.verdict)
        subject = tag("span", tested_on(finding), class_="where")
        lines.append(tag("li", joined([sign, subject, tag("b", effect_text(finding))], " ")))
    return tag("ul", joined(lines))


def _reasons(findings: Sequence[Finding]) -> Html:
    """The rule that led to each verdict, equal ones once."""
    tests: dict[str, list[str]] = {}
    for finding in sorted(findings, key=finding_name):
        tests.setdefault(finding.reason, []).append(f"{finding_name(finding)}, {tested_on(finding)}")
    lines = (tag("li", joined([tag("b", "; ".join(names) + ":"), reason], " ")) for reason, names in tests.items())
    return tag("ul", joined(lines), class_="reasons")


def _table(findings: Sequence[Finding]) -> Html:
    columns = ["claim", "tested on", "statement", "effect, 95 % interval", "what the effect is", "verdict", "rule"]
    rows: list[Row] = [
        [
            str(row.claim),
            tested_on(row),
            row.statement,
            effect_text(row),
            effect_label(row),
            badge(row.verdict),
            row.reason,
        ]
        for row in findings
    ]
    return table(columns, rows)
