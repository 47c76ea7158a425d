"""Numbers and estimates as plain text, for terminals and JSON; the page's own look is in `tasks.report.format`."""

from __future__ import annotations

from tasks.records.fits import Estimate


def number(value: float | None, digits: int = 4, missing: str = "") -> str:
    """A number with so many significant digits; `missing` where there is none."""
    return missing if value is None else f"{value:.{digits}g}"


def bounds(estimate: Estimate, digits: int = 4) -> str:
    """`[low, high]`; an open end is dots, nothing where both are open."""
    if estimate.low is None and estimate.high is None:
        return ""
    return f"[{number(estimate.low, digits, '..')}, {number(estimate.high, digits, '..')}]"


def interval(estimate: Estimate, digits: int = 3) -> str:
    """`value [low, high]`, or the value alone where an end is open; a dash where there is no value."""
    value = number(estimate.value, digits, "-")
    if estimate.low is None or estimate.high is None:
        return value
    return f"{value} {bounds(estimate, digits)}"
