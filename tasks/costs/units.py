"""Numbers with their units as text."""

from __future__ import annotations


def short_count(value: float) -> str:
    """A count with three digits and k, M, B or T: 56000 -> 56k."""
    for scale, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:.3g}{letter}"
    return f"{value:.3g}"
