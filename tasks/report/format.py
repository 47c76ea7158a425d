"""Numbers as the page shows them: few digits, thin spaces, signs that are minus signs."""

from __future__ import annotations

import math

from tasks.records.fits import Estimate

SPACE = "\u00a0"
MISSING = "–"


def compact(value: float | None, digits: int = 3) -> str:
    """A number in `digits` significant digits; powers of ten outside 1e-3 .. 1e7; a dash for what does not exist."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if exponent < -3 or exponent >= 7:
        mantissa, power = f"{value:.{digits - 1}e}".split("e")
        return minus(f"{mantissa}e{int(power)}")
    if exponent >= digits:
        return minus(count(round(value, digits - 1 - exponent)))
    return minus(f"{value:.{digits - 1 - exponent}f}")


def fixed(value: float | None, decimals: int = 3) -> str:
    """A number with so many decimals; a dash for what does not exist."""
    return MISSING if value is None or not math.isfinite(value) else minus(f"{value:.{decimals}f}")


def percent(fraction: float | None, decimals: int = 1) -> str:
    """A fraction in per cent; a dash for what does not exist."""
    if fraction is None or not math.isfinite(fraction):
        return MISSING
    return f"{fixed(100 * fraction, decimals)}{SPACE}%"


def change(ratio: float | None) -> str:
    """A ratio as a relative change, e.g. 0.94 as −6.0 %; a dash for what does not exist."""
    return MISSING if ratio is None else minus(f"{100 * (ratio - 1):+.1f}{SPACE}%")


def count(value: float) -> str:
    """An integer with narrow spaces between thousands."""
    return f"{value:,.0f}".replace(",", "\u202f")


def duration(seconds: float) -> str:
    """Seconds as s, min or h."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def minus(text: str) -> str:
    """A hyphen before a number becomes a minus sign."""
    return text.replace("-", "\u2212")


def interval(estimate: Estimate, digits: int = 3) -> str:
    """`value [low, high]`, `value (above low)` where an end is open, or the value alone where it has no interval."""
    value = compact(estimate.value, digits)
    if estimate.low is None and estimate.high is None:
        return value
    if estimate.low is None or estimate.high is None:
        end = (
            f"below{SPACE}{compact(estimate.high)}" if estimate.low is None else f"above{SPACE}{compact(estimate.low)}"
        )
        return f"{value}{SPACE}({end})"
    return between(value, compact(estimate.low, digits), compact(estimate.high, digits))


def relative(ratio: Estimate) -> str:
    """A ratio and its interval as relative changes, or the value alone where it has no interval."""
    if ratio.low is None or ratio.high is None:
        return change(ratio.value)
    return between(change(ratio.value), change(ratio.low), change(ratio.high))


def between(value: str, low: str, high: str) -> str:
    """`value [low, high]` in one unbroken line."""
    return f"{value}{SPACE}[{low},{SPACE}{high}]"
