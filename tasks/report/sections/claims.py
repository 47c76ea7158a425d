"""The four published claims and what this study says about them: verdicts straight from findings.json."""

from __future__ import annotations

from typing import Any

from tasks.report.evidence import Evidence
from tasks.report.html import SIGNS, Html, Row, details, joined, paragraph, pill, table, tag
from tasks.report.published import CLAIMS, SOURCE
from tasks.report.sections.section import Section, section
from tasks.report.wording import VERDICTS, effect, headline, in_law, meaning, sentence, short, tally, tested_on


def build(evidence: Evidence) -> Section:
    """The section."""
    findings = evidence.judged["findings"]
    cards = [_card(claim, [row for row in findings if row["claim"] == claim]) for claim in CLAIMS]
    rule = "What a verdict needs is said under Why; whatever is not decided by its interval is called undecided."
    parts = [
        paragraph(headline(findings), class_="lead"),
        *(paragraph(in_law(fit)) for fit in evidence.fits if fit["primary"] and fit["resource"] == "compute"),
        tag("div", joined(cards), class_="cards"),
        paragraph(f"The claims are those of {SOURCE}.", rule, _source(evidence), class_="note"),
        details("Every test, with its effect, interval and rule", _table(findings)),
    ]
    return section("findings", "Findings", parts)


def _source(evidence: Evidence) -> str:
    """Where intervals come from."""
    if evidence.repeated:
        return "Intervals come from the variation between runs, not from the scatter of single points."
    return "With one run per size, intervals come from blocks of that run and hold no variation between runs."


def _card(claim: int, findings: list[dict[str, Any]]) -> Html:
    counts = tally(findings)
    pills = [pill(name, counts[name]) for name in VERDICTS if counts[name]]
    parts = [
        tag("div", f"Claim {claim}", class_="kicker"),
        tag("h3", CLAIMS[claim]),
        tag("p", sentence(findings)),
        tag("div", joined(pills), class_="pills"),
        _effects(findings) if findings else Html(""),
        details("Why", _reasons(findings)) if findings else Html(""),
    ]
    return tag("article", joined(part for part in parts if part), class_="card")


def _effects(findings: list[dict[str, Any]]) -> Html:
    """The measured effects, one line per test, under a heading per kind of effect."""
    lines, last = [], ""
    for finding in sorted(findings, key=short):
        if meaning(finding) != last:
            last = meaning(finding)
            lines.append(tag("li", last, class_="kind"))
        fingerprint = tag(
            "span", SIGNS[finding["verdict"]], class_=f"sign {finding['verdict']}", title=finding["verdict"]
        )
        where = tag("span", tested_on(finding), class_="where")
        lines.append(tag("li", joined([fingerprint, where, tag("b", effect(finding))], " ")))
    return tag("ul", joined(lines))


def _reasons(findings: list[dict[str, Any]]) -> Html:
    """The rule that led to each verdict, equal ones once."""
    where: dict[str, list[str]] = {}
    for finding in sorted(findings, key=short):
        where.setdefault(finding["reason"], []).append(f"{short(finding)}, {tested_on(finding)}")
    lines = (tag("li", joined([tag("b", "; ".join(tests) + ":"), reason], " ")) for reason, tests in where.items())
    return tag("ul", joined(lines), class_="reasons")


def _table(findings: list[dict[str, Any]]) -> Html:
    columns = ["claim", "tested on", "statement", "effect, 95 % interval", "what the effect is", "verdict", "rule"]
    rows: list[Row] = [
        [
            str(row["claim"]),
            tested_on(row),
            row["statement"],
            effect(row),
            meaning(row),
            pill(row["verdict"]),
            row["reason"],
        ]
        for row in findings
    ]
    return table(columns, rows)
