"""Pieces of HTML. Text is escaped unless it is `Html`, which says that it already is markup."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class Html(str):
    """Markup that must not be escaped again."""

    __slots__ = ()


@dataclass(frozen=True)
class Cell:
    """A table cell that sorts by another value than the text it shows."""

    text: str
    order: float


Content = str | Cell
SIGNS = {"supported": "✓", "contradicted": "✕", "undecided": "?"}
Row = Sequence[Content]


def escape(content: str) -> Html:
    """Text as markup; `Html` as it is."""
    return content if isinstance(content, Html) else Html(html.escape(content))


def tag(name: str, content: str = "", **attributes: str) -> Html:
    """An element; `content` is escaped unless it is `Html`. `class_` is class, `data_order` is data-order."""
    listed = "".join(f' {_name(key)}="{html.escape(value)}"' for key, value in attributes.items())
    return Html(f"<{name}{listed}>{escape(content)}</{name}>")


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def joined(parts: Iterable[str], between: str = "\n") -> Html:
    """Escaped parts, one after another."""
    return Html(between.join(escape(part) for part in parts))


def paragraph(*parts: str, class_: str = "") -> Html:
    """A paragraph of parts joined by spaces."""
    attributes = {"class_": class_} if class_ else {}
    return tag("p", joined(parts, " "), **attributes)


def badge(verdict: str, number: int | None = None) -> Html:
    """A verdict, or a number of them, with its color and a sign for readers who do not see colors."""
    text = verdict if number is None else f"{number} {verdict}"
    return tag("span", f"{SIGNS[verdict]} {text}", class_=f"pill {verdict}")


def table(columns: Sequence[str], rows: Iterable[Row], numeric: Iterable[int] = (), sortable: bool = False) -> Html:
    """A table inside a frame that scrolls sideways where the page is too narrow.

    Args:
        columns: headings.
        rows: cells, one per column.
        numeric: indices of the columns that are set to the right.
        sortable: whether a click on a heading sorts.
    """
    right = set(numeric)
    head = joined(
        tag("th", name, scope="col", **({"class_": "number"} if index in right else {}))
        for index, name in enumerate(columns)
    )
    body = joined(
        tag("tr", joined((_cell(cell, index in right) for index, cell in enumerate(row)), "")) for row in rows
    )
    inner = joined([tag("thead", tag("tr", head)), tag("tbody", body)])
    return tag("div", tag("table", inner, **({"class_": "sortable"} if sortable else {})), class_="frame", tabindex="0")


def _cell(cell: Content, right: bool) -> Html:
    attributes = {"class_": "number"} if right else {}
    if isinstance(cell, Cell):
        return tag("td", cell.text, **attributes, data_order=f"{cell.order:.12g}")
    return tag("td", cell, **attributes)


def figure(svg: str, caption: str, label: str) -> Html:
    """A figure with its caption.

    Args:
        svg: an SVG element.
        caption: what it shows.
        label: short description for screen readers.
    """
    image = tag("div", Html(svg), class_="picture", role="img", aria_label=label)
    return tag("figure", joined([image, tag("figcaption", caption)]))


def details(summary: str, content: str) -> Html:
    """Something folded away."""
    return tag("details", joined([tag("summary", summary), content]))


def bar(fraction: float) -> Html:
    """A bar that fills a fraction of its cell's width."""
    return Html(f'<span class="bar"><span style="width:{100 * min(max(fraction, 0.0), 1.0):.1f}%"></span></span>')
