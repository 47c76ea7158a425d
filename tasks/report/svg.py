"""Figures with one look as SVG documents, and as elements whose colors follow the reader's light or dark mode.

Text stays text (searchable, in the page's font). Equal figures give equal bytes: ids are salted by the figure's name
and no date is written.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tasks.records.fits import Estimate
from tasks.report.style import color, css_colors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tasks.report.inputs import Floats

LOSS_TICKS = (0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_FONTS = ["DejaVu Sans", "Helvetica", "Arial", "sans-serif"]


def _style(name: str) -> Any:
    """Settings by name; untyped, because matplotlib's stubs list its 300 keys as literals and ours are a plain dict."""
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.family": _FONTS[:1],
        "font.size": 9.5,
        "axes.titlesize": 10.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 8,
        "axes.labelcolor": color("muted"),
        "axes.edgecolor": color("neutral"),
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": color("rule"),
        "grid.linewidth": 0.7,
        "text.color": color("ink"),
        "axes.titlecolor": color("ink"),
        "xtick.color": color("muted"),
        "ytick.color": color("muted"),
        "xtick.minor.size": 2,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "lines.linewidth": 1.8,
        "figure.constrained_layout.use": True,
    }


@contextmanager
def panels(name: str, rows: int, columns: int, size: tuple[float, float], **share: Any) -> Iterator[tuple[Figure, Any]]:
    """Yields a figure and its axes [rows, columns] in the report's style.

    Args:
        name: name of the figure; makes its ids unique on the page.
        rows: rows of panels.
        columns: columns of panels.
        size: width and height, inches.
        share: sharex, sharey.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as NewFigure

    with matplotlib.rc_context(_style(name)):
        figure = NewFigure(figsize=size)
        FigureCanvasSVG(figure)
        yield figure, figure.subplots(rows, columns, squeeze=False, **share)


def svg_of(figure: Figure) -> str:
    """The figure as an SVG document without a background; to be called inside `panels`."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = re.sub(r' d="[^"]*"', _shortened, buffer.getvalue())
    return text.replace(f"'{_FONTS[0]}'", _font_list())


def _font_list() -> str:
    """The fonts as a CSS value."""
    return ", ".join(f"'{name}'" if " " in name else name for name in _FONTS)


def _shortened(path: re.Match[str]) -> str:
    """Path data with two decimals, in points of 1/72 inch."""
    return re.sub(r"(\.\d\d)\d+", r"\1", path.group())


def on_white(svg: str) -> str:
    """The SVG document on white, for viewers with a dark one."""
    return re.sub(r"(<svg[^>]*>)", r'\1<rect width="100%" height="100%" fill="#ffffff"/>', svg, count=1)


def inline(svg: str) -> str:
    """The SVG element for inside the page: colors become CSS variables, the font is the page's."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1))
    body = body.replace(_font_list(), "var(--font)")
    for name, (light, _) in css_colors().items():
        body = body.replace(light, f"var({name})")
    return re.sub(r"\n\s*", "\n", body)


def draw_estimates(axes: Axes, x: Floats, estimates: Sequence[Estimate], series: str) -> None:
    """Dots with their intervals, in the color and with the label of a series; one without an interval is a dot alone.

    Args:
        axes: where to draw.
        x: positions [P].
        estimates: one per position.
        series: a name in `COLORS`.
    """
    import numpy as np

    table = np.array([(row.value, row.low, row.high) for row in estimates], dtype=float).reshape(-1, 3)
    value, low, high = table.T
    reach = np.nan_to_num(np.stack([value - low, high - value]).clip(min=0.0))
    axes.errorbar(x, value, reach, fmt="o", color=color(series), markersize=4.5, elinewidth=1.1, label=series)


def loss_axis(axes: Axes) -> None:
    """A logarithmic loss axis with ticks a reader knows."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    ticks = _sparse([tick for tick in LOSS_TICKS if low <= tick <= high], low, high)
    axes.yaxis.set_major_locator(FixedLocator(ticks) if len(ticks) > 2 else MaxNLocator(5))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))


def _sparse(ticks: list[float], low: float, high: float) -> list[float]:
    """Ticks at least a twelfth of the logarithmic axis apart, counted from the top."""
    kept: list[float] = []
    for tick in sorted(ticks, reverse=True):
        if not kept or kept[-1] / tick >= (high / low) ** (1 / 12):
            kept.append(tick)
    return kept


def log_axis(axes: Axes) -> None:
    """A logarithmic x axis with ticks at powers of ten, or at 1, 2, 5 of each where it spans little."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    wide = high / low > 300
    axes.xaxis.set_major_locator(LogLocator(10, subs=(1.0,) if wide else (1.0, 2.0, 5.0), numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _power(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _power(value: float) -> str:
    """1200 as 1.2k, 3e9 as 10 to a power: short tick labels."""
    if value >= 1e6:
        mantissa, power = f"{value:.0e}".split("e")
        superscript = str(int(power)).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
        return f"10{superscript}" if mantissa == "1" else f"{mantissa}·10{superscript}"
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
