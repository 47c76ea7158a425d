"""The report stage as a plain function: the study's results in, the page as one HTML document and figures out, once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tasks.records.findings import read_findings
from tasks.records.json_files import to_json
from tasks.report.document import document
from tasks.report.format import count
from tasks.report.format_gain import FormatGain, format_gains
from tasks.report.grading_check import GradingCheck, check_grading
from tasks.report.html import Html, joined, paragraph, tag
from tasks.report.inputs import StudyResults, read_results
from tasks.report.sections import (
    Section,
    claims,
    forecasts,
    grading,
    law,
    plan,
    provenance,
    reuse,
    runs,
    scores,
    stopped,
    strictness,
    training,
    variation,
)
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
        gains = format_gains(results)
        sections = build_sections(results, check, gains)
        figures = {f"figures/{name}.svg": svg for part in sections for name, svg in part.figures.items()}
        for name, svg in figures.items():
            write_text(folder / name, on_white(svg))
        write_json(folder / SUMMARY, summary(results, check, gains))
        write_text(folder / PAGE, render(results, sections))
        return [PAGE, SUMMARY, *figures], {"runs": len(results.runs)}

    once(folder, "report", report_fingerprint(params), body)
    return folder


def summary(results: StudyResults, check: GradingCheck, gains: list[FormatGain] | str) -> dict[str, Any]:
    """The page's main numbers, for `rlscale report --json`: headline, verdict counts, laws, claims, grading, format."""
    audit = check.audit.summary() if check.audit else {}
    return {
        "title": results.params.report.title,
        "runs": len(results.runs),
        "headline": headline(results.findings),
        "verdicts": count_verdicts(results.findings),
        **read_findings(results.params),
        "grading": check.totals,
        "format": gains if isinstance(gains, str) else [to_json(gain) for gain in gains],
        "audit": {name: value for name, value in audit.items() if not name.endswith("seconds")},
    }


def build_sections(results: StudyResults, check: GradingCheck, gains: list[FormatGain] | str) -> list[Section]:
    """All sections in the order of the page."""
    return [
        claims.build(results),
        law.build(results),
        variation.build(results),
        strictness.build(results, gains),
        forecasts.build(results),
        plan.build(results.plans),
        reuse.build(results),
        training.build(results),
        scores.build(results),
        *([stopped.build(results)] if results.params.train.stopping else []),
        runs.build(results),
        grading.build(check),
        provenance.build(results),
    ]


def render(results: StudyResults, sections: list[Section]) -> str:
    """Puts the page together."""
    title = results.params.report.title
    footer = "Written by rlscale from the files of this study; equal files give an equal page."
    return document(title, _header(results, title), sections, footer)


def _header(results: StudyResults, title: str) -> Html:
    train, steps = results.params.train, _span(log.run.steps for log in results.runs)
    facts = [
        f"{len(results.runs)} GRPO runs",
        f"{len(results.sizes)} sizes ({results.sizes[0]} to {results.sizes[-1]} non-embedding parameters)",
        " and ".join(results.variants),
        f"{_span(results.runs_by_size.values())} seed{'s' if results.repeated else ''}",
        f"{steps} steps of {train.batch} prompts × {train.group_size} completions",
        f"{count(results.params.prepare.heldout)} held-out problems",
    ]
    return tag("header", joined([tag("h1", title), paragraph(" · ".join(facts), class_="sub")]))


def _span(values: Iterable[int]) -> str:
    """One number where all are equal, else the smallest and the largest."""
    ordered = sorted(values)
    return str(ordered[0]) if ordered[0] == ordered[-1] else f"{ordered[0]} to {ordered[-1]}"
