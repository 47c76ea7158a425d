"""Counts with their units as text, and back."""

from __future__ import annotations

import math


def short_count(value: float) -> str:
    """A count with three digits and k, M, B or T: 56000 -> 56k."""
    for scale, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= scale:
            return f"{value / scale:.3g}{letter}"
    return f"{value:.3g}"


def parse_count(text: str) -> float:
    """Reads a count with or without k, M, B or T, in either case: 394k, 0.5b, 7 B, 7e9.

    Raises:
        ValueError: it is not a finite number.
    """
    powers = {"k": 3, "m": 6, "b": 9, "t": 12}
    text = text.strip()
    power = powers.get(text[-1:].lower())
    value = float(text) if power is None else float(f"{text[:-1].rstrip()}e{power}")
    if not math.isfinite(value):
        raise ValueError(f"{text} is not finite")
    return value
