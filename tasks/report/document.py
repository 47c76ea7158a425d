"""An HTML document of sections that loads nothing: style sheet and scripts are in it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.records.plans import PlanModel
from tasks.report.html import Html, joined, paragraph, tag
from tasks.report.sections import Section, plan
from tasks.report.style import SCRIPTS, asset, style_sheet
from tasks.study.manifests import write_text


def document(title: str, header: Html, sections: Sequence[Section], footer: str) -> str:
    """Puts a page together.

    Args:
        title: of the document.
        header: above the sections.
        sections: in their order.
        footer: below them.
    """
    links = joined(tag("a", part.title, href=f"#{part.anchor}") for part in sections)
    main = tag("main", joined([header, *(_section(part) for part in sections), tag("footer", footer)]))
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
    script = tag("script", Html("\n".join(asset(name) for name in SCRIPTS)))
    page = tag("html", joined([tag("head", head), tag("body", joined([body, script]))]), lang="en")
    return f"<!doctype html>\n{page}\n"


def write_plan_page(path: Path, title: str, plans: Sequence[PlanModel], notes: Sequence[str] = ()) -> None:
    """Writes a page of the section "Plan" alone.

    Args:
        path: the file.
        title: of the page.
        plans: what can be asked.
        notes: sentences above the section.
    """
    header = tag("header", joined([tag("h1", title), *(paragraph(note, class_="sub") for note in notes)]))
    write_text(
        path, document(title, header, [plan.build(plans)], "Written by rlscale; equal files give an equal page.")
    )


def _section(part: Section) -> Html:
    return tag("section", joined([tag("h2", part.title), part.body]), id=part.anchor)
