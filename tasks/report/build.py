"""The report stage as a plain function: the study's results in, page and figures out, once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.records.findings import read_findings
from tasks.report.grading_check import GradingCheck, check_grading
from tasks.report.inputs import StudyResults, read_results
from tasks.report.page import build_sections, render
from tasks.report.svg import on_white
from tasks.report.text import count_verdicts, headline
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
        results = read_results(params)
        check = check_grading(params, results.runs)
        sections = build_sections(results, check)
        figures = {f"figures/{name}.svg": svg for part in sections for name, svg in part.figures.items()}
        for name, svg in figures.items():
            write_text(folder / name, on_white(svg))
        write_json(folder / SUMMARY, summary(results, check))
        write_text(folder / PAGE, render(results, sections))
        return [PAGE, SUMMARY, *figures], {"runs": len(results.runs)}

    once(folder, "report", report_fingerprint(params), body)
    return folder


def summary(results: StudyResults, check: GradingCheck) -> dict[str, Any]:
    """The page's main numbers, for `rlscale report --json`: headline, verdict counts, laws, claims, grading."""
    audit = check.audit.summary() if check.audit else {}
    return {
        "title": results.params.report.title,
        "runs": len(results.runs),
        "headline": headline(results.findings),
        "verdicts": count_verdicts(results.findings),
        **read_findings(results.params),
        "grading": check.totals,
        "audit": {name: value for name, value in audit.items() if not name.endswith("seconds")},
    }
