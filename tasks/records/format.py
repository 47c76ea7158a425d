"""Numbers and estimates as plain text, for terminals and JSON; the page's own look is in `tasks.report.format`."""

from __future__ import annotations

from tasks.records.fits import Estimate


def number(value: float | None, digits: int = 4, missing: str = "") -> str:
    """A number with so many significant digits; `missing` where there is none."""
    return missing if value is None else f"{value:.{digits}g}"


def bounds(estimate: Estimate, digits: int = 4, missing: str = "") -> str:
    """`[low, high]`, in words where one end is open (`above 0.1`), `missing` where both are."""
    if estimate.low is None and estimate.high is None:
        return missing
    if estimate.high is None:
        return f"above {number(estimate.low, digits)}"
    if estimate.low is None:
        return f"below {number(estimate.high, digits)}"
    return f"[{number(estimate.low, digits)}, {number(estimate.high, digits)}]"


def interval(estimate: Estimate, digits: int = 3) -> str:
    """`value [low, high]`, `value (above low)` where an end is open, a dash where there is no value."""
    value, ends = number(estimate.value, digits, "-"), bounds(estimate, digits)
    if not ends or ends.startswith("["):
        return f"{value} {ends}".rstrip()
    return f"{value} ({ends})"
