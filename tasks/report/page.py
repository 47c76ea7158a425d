"""The page as one HTML document."""

from __future__ import annotations

from collections.abc import Mapping

from tasks.report.auditing import GradingCheck
from tasks.report.canvas import inline
from tasks.report.evidence import Evidence
from tasks.report.html import Html, joined, paragraph, tag
from tasks.report.numbers import count
from tasks.report.sections import claims, forecasts, grading, law, provenance, reuse, runs, scores, training
from tasks.report.sections.section import Section
from tasks.report.style import SCRIPT, style_sheet


def render(evidence: Evidence, drawn: Mapping[str, str], check: GradingCheck) -> str:
    """Puts the page together.

    Args:
        evidence: the study.
        drawn: SVG documents by name.
        check: grading statistics and audit.

    Returns:
        An HTML document that loads nothing.
    """
    pictures = {name: inline(svg) for name, svg in drawn.items()}
    sections = [
        claims.build(evidence),
        law.build(evidence, pictures),
        forecasts.build(evidence, pictures),
        reuse.build(evidence, pictures),
        training.build(evidence, pictures),
        scores.build(evidence, pictures),
        runs.build(evidence),
        grading.build(check),
        provenance.build(evidence),
    ]
    title = evidence.params.report.title
    links = joined(tag("a", part.title, href=f"#{part.anchor}") for part in sections)
    footer = tag("footer", "Written by rlscale from the files of this study; equal files give an equal page.")
    main = tag("main", joined([_header(evidence, title), *(_section(part) for part in sections), footer]))
    body = tag("div", joined([tag("nav", links, aria_label="Sections"), main]), class_="page")
    head = joined(
        [
            Html('<meta charset="utf-8">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html('<link rel="icon" href="data:,">'),
            tag("title", title),
            tag("style", Html(style_sheet())),
        ]
    )
    script = tag("script", Html(SCRIPT))
    document = tag("html", joined([tag("head", head), tag("body", joined([body, script]))]), lang="en")
    return f"<!doctype html>\n{document}\n"


def _header(evidence: Evidence, title: str) -> Html:
    train = evidence.params.train
    facts = [
        f"{len(evidence.runs)} GRPO runs",
        f"{len(evidence.sizes)} sizes ({evidence.sizes[0]} to {evidence.sizes[-1]} non-embedding parameters)",
        " and ".join(evidence.variants),
        f"{len(evidence.params.grid.seeds)} seed{'s' if len(evidence.params.grid.seeds) > 1 else ''}",
        f"{train.steps} steps of {train.batch} prompts × {train.group_size} completions",
        f"{count(evidence.params.prepare.heldout)} held-out problems",
    ]
    return tag("header", joined([tag("h1", title), paragraph(" · ".join(facts), class_="sub")]))


def _section(part: Section) -> Html:
    return tag("section", joined([tag("h2", part.title), part.body]), id=part.anchor)
