"""The sections of the page, one module each with its figures; `build` of each makes its `Section`.

A figure's drawing function returns an SVG document, or None where the study has no data for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tasks.report.html import Html, figure, joined
from tasks.report.svg import inline


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        anchor: its id.
        title: its heading.
        body: its markup.
        figures: SVG documents by name; also written beside the page.
    """

    anchor: str
    title: str
    body: Html
    figures: dict[str, str]


def section(anchor: str, title: str, parts: Iterable[str], figures: Mapping[str, str | None] | None = None) -> Section:
    """A section of several parts; empty parts, and figures that were not drawn, are left out."""
    drawn = {name: svg for name, svg in (figures or {}).items() if svg is not None}
    return Section(anchor, title, joined(part for part in parts if part), drawn)


def figure_or_empty(svg: str | None, caption: str, label: str) -> Html:
    """A figure of the page, nothing where it was not drawn.

    Args:
        svg: an SVG document.
        caption: what it shows.
        label: short description for screen readers.
    """
    return Html("") if svg is None else figure(inline(svg), caption, label)
