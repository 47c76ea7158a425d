"""The report stage as a plain function: evidence in, page and figures out, once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.records.findings import read_findings
from tasks.report.auditing import GradingCheck, check_grading
from tasks.report.canvas import on_white
from tasks.report.evidence import Evidence, read_evidence
from tasks.report.page import render
from tasks.report.pictures import draw_all
from tasks.report.wording import headline, tally
from tasks.study.fingerprints import report_fingerprint
from tasks.study.manifests import once, write_json, write_text
from tasks.study.params import Params
from tasks.study.paths import StudyPaths

PAGE, SUMMARY = "index.html", "summary.json"


def build_report(params: Params) -> Path:
    """Writes `data/report/`: index.html, summary.json and figures/*.svg, unless they are there already.

    Returns:
        The folder.

    Raises:
        InputError: a stage before this one has not finished.
    """
    folder = StudyPaths.of(params).stage("report")

    def body() -> tuple[list[str], Mapping[str, Any]]:
        evidence = read_evidence(params)
        check = check_grading(params, evidence.runs)
        drawn = draw_all(evidence)
        names = [f"figures/{name}.svg" for name in drawn]
        for name, svg in zip(names, drawn.values(), strict=True):
            write_text(folder / name, on_white(svg))
        write_json(folder / SUMMARY, summary(evidence, check))
        write_text(folder / PAGE, render(evidence, drawn, check))
        return [PAGE, SUMMARY, *names], {"runs": len(evidence.runs)}

    once(folder, "report", report_fingerprint(params), body)
    return folder


def summary(evidence: Evidence, check: GradingCheck) -> dict[str, Any]:
    """The page's main numbers, for `rlscale report --json`: headline, verdict counts, laws, claims, grading."""
    findings = evidence.judged["findings"]
    found = read_findings(evidence.params)
    return {
        "title": evidence.params.report.title,
        "runs": len(evidence.runs),
        "headline": headline(findings),
        "verdicts": tally(findings),
        **found,
        "grading": check.totals,
        "audit": {name: value for name, value in check.summary.items() if not name.endswith("seconds")},
    }
