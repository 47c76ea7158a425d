"""Colours, for light and dark: figures are drawn in the light ones, which become CSS variables inside the page.

Sizes and reuse factors are ordered, so they get a sequential scale (plasma), cut at the ends that vanish on the page.
"""

from __future__ import annotations

INK = {
    "ink": ("#1b1f24", "#e6e8eb"),
    "muted": ("#5c6672", "#9aa4b0"),
    "rule": ("#dde1e6", "#343a42"),
    "base": ("#2563b0", "#6ea8f0"),
    "instruct": ("#c2571a", "#f0a05a"),
    "neutral": ("#7a8490", "#8e98a4"),
    "supported": ("#1e7d45", "#5cc98a"),
    "contradicted": ("#b3261e", "#f28b82"),
    "undecided": ("#8a6100", "#e0b54a"),
}
STEPS = 8


def ink(name: str) -> str:
    """The light colour of a name in `INK`."""
    return INK[name][0]


def ordered(count: int) -> list[str]:
    """`count` light colours of the sequential scale, spread over all of it; beyond `STEPS` colours repeat."""
    light = [pair[0] for pair in scale()]
    if count <= 1:
        return light[:1]
    return [light[round(index * (STEPS - 1) / (count - 1))] for index in range(count)]


def scale() -> list[tuple[str, str]]:
    """The sequential scale as (light, dark) pairs."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    plasma = colormaps["plasma"]
    shares = [index / (STEPS - 1) for index in range(STEPS)]
    return [(to_hex(plasma(0.80 * share)), to_hex(plasma(0.36 + 0.60 * share))) for share in shares]


def variables() -> dict[str, tuple[str, str]]:
    """CSS variable names with their light and dark colours."""
    named = {f"--{name}": pair for name, pair in INK.items()}
    return named | {f"--step-{index}": pair for index, pair in enumerate(scale())}
