"""`rlscale compare` as tables of text."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.fit.comparison import Comparison, Source, params_differences
from tasks.fit.output.tables import TextTable
from tasks.records.fits import Estimate
from tasks.records.format import bounds, number


def comparison_tables(comparison: Comparison) -> list[TextTable]:
    """Numbers of all sources side by side, then the differences from the first."""
    columns = ("", *(side.source for side in comparison.sides))
    first = comparison.sides[0]
    names = [("coefficients", name) for name in first.coefficients]
    names += [("k", size) for side in comparison.sides for size in side.k]
    names += [("loss", size) for side in comparison.sides for size in side.loss]
    words = {"coefficients": "", "k": "k of ", "loss": "loss of "}
    rows = [
        (f"{words[kind]}{name}", *(_cell(getattr(side, kind).get(name)) for side in comparison.sides))
        for kind, name in dict.fromkeys(names)
    ]
    counts = [("points (runs)", *(f"{side.points} ({side.runs})" for side in comparison.sides))]
    where = f"{comparison.group}, {comparison.resource}"
    differences = [
        (row.source, row.quantity, number(row.difference.value), bounds(row.difference), "clear" if row.clear else "")
        for row in comparison.differences
    ]
    title = f"minus {first.source}; clear: the interval leaves 0 out"
    return [
        (f"{where}: law {comparison.law}, losses at {number(comparison.x)}", columns, [*counts, *rows]),
        (title, ("source", "quantity", "difference", "95 % interval", ""), differences),
    ]


def params_table(sources: Sequence[Source]) -> TextTable | None:
    """What differs in the params of the studies; None where nothing does, or with fewer than two studies."""
    rows = params_differences(sources)
    studies = [source.name for source in sources if source.params is not None]
    return ("what differs in the params", ("key", *studies), rows) if rows else None


def _cell(estimate: Estimate | None) -> str:
    return "–" if estimate is None else f"{number(estimate.value)} {bounds(estimate)}"
