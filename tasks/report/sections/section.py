"""What a section is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tasks.report.html import Html, figure, joined

Pictures = Mapping[str, str]


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes:
        anchor: its id.
        title: its heading.
        body: its markup.
    """

    anchor: str
    title: str
    body: Html


def section(anchor: str, title: str, parts: Iterable[str]) -> Section:
    """A section of several parts; empty ones are left out."""
    return Section(anchor, title, joined(part for part in parts if part))


def shown(pictures: Pictures, name: str, caption: str, label: str) -> Html:
    """A picture of the page, or nothing where the study has none of it."""
    return figure(pictures[name], caption, label) if name in pictures else Html("")
