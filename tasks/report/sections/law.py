"""The law: loss against compute and data, coefficients beside the published ones, k by size, rival laws.

A dot of the figures is the mean over seeds and over the steps that fall into one of `BINS` equal parts of log X; the
fit itself uses every step of every run. The band is that of the fitted line (run-to-run variation), not of single
measurements.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.records.fits import FitRecord, SizeSlope
from tasks.records.published import FITS, SOURCE
from tasks.report.format import compact, count, fixed, interval
from tasks.report.html import Html, Row, details, joined, paragraph, table, tag
from tasks.report.inputs import Floats, StudyResults
from tasks.report.sections import Section, figure_or_empty, section
from tasks.report.sections.learning import CAPTION, draw_learning, size_details
from tasks.report.style import sequential_colors
from tasks.report.svg import log_axis, loss_axis, panels, svg_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 22
AXIS = {"compute": "training compute C = 6NT, FLOPs", "data": "data D, prompts seen"}
DOTS = (
    "Dots: mean over seeds and over the steps of one of 22 equal parts of the axis. Lines: the fitted law, from every "
    "step of every run. Bands: 95 % interval of the line."
)


def build(results: StudyResults) -> Section:
    """The section."""
    fits = results.primary_fits
    if not fits:
        return section("law", "The law", [paragraph("No law was fitted.")])
    options = fits[0].options
    compute, data, learning = draw_law(results, "compute"), draw_law(results, "data"), draw_learning(results)
    intro = paragraph(
        "Fitted law:", tag("code", fits[0].equation), "with logarithms to base 10, L = 1 − pass@1 on the held-out "
        f"problems, by exact least squares ({options.objective} objective, {count(options.draws)} draws for the "
        "intervals)."
    )  # fmt: skip
    parts = [
        intro,
        figure_or_empty(compute, f"Test loss against training compute. {DOTS}", "test loss against compute"),
        figure_or_empty(data, f"Test loss against data. {DOTS}", "test loss against data"),
        tag("h3", "Coefficients"),
        _coefficients(fits),
        _flags(fits),
        _beside_published(fits),
        tag("h3", "Learning efficiency"),
        figure_or_empty(learning, CAPTION, "k(N) by size"),
        size_details(fits),
        tag("h3", "Rival laws"),
        _rivals(results),
    ]
    return section("law", "The law", parts, {"law_compute": compute, "law_data": data, "learning": learning})


def draw_law(results: StudyResults, resource: str) -> str | None:
    """Draws loss against one resource, one panel per variant: measured points, fitted lines, 95 % bands."""
    variants = [variant for variant in results.variants if results.primary(variant, resource)]
    if not variants:
        return None
    with panels(f"law-{resource}", 1, len(variants), (5.3 * len(variants), 4.3), sharey=True) as (figure, axes):
        for column, variant in enumerate(variants):
            panel: Axes = axes[0, column]
            for size, size_color in zip(results.sizes, sequential_colors(len(results.sizes)), strict=True):
                _draw_size(panel, results, (variant, resource, size), size_color)
            panel.set_title(variant)
            panel.set_xlabel(AXIS.get(resource, resource))
            log_axis(panel)
        for panel in axes[0]:
            loss_axis(panel)
        axes[0, 0].set_ylabel("test loss L = 1 − pass@1")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper center", ncols=len(labels), title="non-embedding parameters N"
        )
        return svg_of(figure)


def binned(x: Floats, loss: Floats) -> tuple[Floats, Floats]:
    """Geometric mean of X and mean loss in `BINS` equal parts of log X; empty parts are left out."""
    logs = np.log10(x)
    edges = np.linspace(logs.min(), logs.max(), BINS + 1)
    index = np.clip(np.digitize(logs, edges) - 1, 0, BINS - 1)
    counts = np.bincount(index, minlength=BINS)
    filled = counts > 0
    mean = np.bincount(index, weights=loss, minlength=BINS)[filled] / counts[filled]
    center = np.bincount(index, weights=logs, minlength=BINS)[filled] / counts[filled]
    return 10.0**center, mean


def _draw_size(panel: Axes, results: StudyResults, key: tuple[str, str, str], size_color: str) -> None:
    """One size: dots, line, band."""
    variant, resource, size = key
    points = results.points
    resource_values = points.resource(resource)
    chosen = (points.variant == variant) & (points.size == size) & (points.tau == 1) & (resource_values > 0)
    chosen &= points.group_size == results.params.train.group_size
    fit = results.primary(variant, resource)
    slope = next((entry for entry in fit.by_size if entry.size == size), None) if fit else None
    if not chosen.any() or fit is None or slope is None:
        return
    x = np.asarray(resource_values[chosen], dtype=float)
    panel.plot(
        *binned(x, points.test_loss[chosen]), "o", color=size_color, markersize=3.6, alpha=0.75, markeredgewidth=0
    )
    line_x = np.geomspace(x.min(), x.max(), 24)
    level = _level(fit, slope)
    panel.plot(line_x, 10.0 ** (level - _value(slope.k.value) * np.log10(line_x)), color=size_color, label=size)
    k, levels = results.draws_of(variant, resource, f"k:{size}"), results.draws_of(variant, resource, f"E:{size}")
    if len(k) and len(k) == len(levels):
        lines = levels[:, None] - k[:, None] * np.log10(line_x)
        low, high = np.quantile(lines, [0.025, 0.975], axis=0)
        panel.fill_between(line_x, 10.0**low, 10.0**high, color=size_color, alpha=0.16, linewidth=0)


def _level(fit: FitRecord, slope: SizeSlope) -> float:
    """E of a size; for `pivot`, which has no free levels, k (a + b log N). NaN where it was not determined."""
    if slope.level is not None:
        return _value(slope.level.value)
    a, b = (_value(fit.coefficients[name].value) for name in ("a", "b"))
    return _value(slope.k.value) * float(a + b * np.log10(slope.n))


def _value(value: float | None) -> float:
    return float("nan") if value is None else value


def _coefficients(fits: list[FitRecord]) -> Html:
    names = list(dict.fromkeys(name for fit in fits for name in fit.coefficients))
    columns = ["variant", "against", "law", *names, "R²", "R² of log L", "rms residual", "points", "runs"]
    rows: list[Row] = []
    for fit in fits:
        values = fit.coefficients
        row = [fit.variant, fit.resource, fit.law]
        row += [interval(values[name]) if name in values else "–" for name in names]
        row += [fixed(fit.r2_linear, 4), fixed(fit.r2_log, 4), fixed(fit.rmse_log, 4)]
        row += [count(fit.points), count(fit.runs)]
        rows.append(row)
    note = paragraph(
        "R² in linear loss, as published, is flattered by the differences between sizes, which the free E(N) takes up.",
        class_="note",
    )
    return joined([table(columns, rows, range(3, len(columns))), note])


def _beside_published(fits: list[FitRecord]) -> Html:
    """The published fits in the same units; N0 as a fraction of the largest size, as the families differ in size."""
    rows: list[Row] = []
    for fit in fits:
        published, n0 = FITS.get((fit.variant, fit.resource)), fit.coefficients.get("N0")
        if published is None or n0 is None or n0.value is None:
            continue
        largest = max(slope.n for slope in fit.by_size)
        row = [fit.variant, fit.resource, compact(fit.coefficients["Kmax"].value), compact(published.kmax)]
        row += [compact(n0.value / largest), compact(published.n0 / published.largest)]
        rows.append([*row, fixed(fit.r2_linear, 4), fixed(published.r2, 4)])
    if not rows:
        return Html("")
    columns = ["variant", "against", "Kmax", "published", "N0 / largest N", "published", "R²", "published"]
    note = f"Published: {SOURCE}, Qwen2.5 0.5B to 72B. N0 is a share of the largest size, since the families differ by "
    note += "five orders of magnitude; other problems and models, so nothing says that the numbers should agree."
    return details(
        "Beside the published fits", joined([table(columns, rows, range(2, 8)), paragraph(note, class_="note")])
    )


def _flags(fits: list[FitRecord]) -> Html:
    """Warnings of the fits, each once with the fits it concerns."""
    subjects: dict[str, list[str]] = {}
    for fit in fits:
        for flag in fit.flags:
            subjects.setdefault(flag.text, []).append(f"{fit.variant}, {fit.resource}")
    if not subjects:
        return Html("")
    lines = [tag("li", joined([tag("b", "; ".join(names) + ": "), text])) for text, names in subjects.items()]
    return tag("ul", joined(lines), class_="warnings")


def _rivals(results: StudyResults) -> Html:
    """All laws on the same points: AICc differences, and error on sizes that the fit never saw."""
    columns = ["variant", "against", "law", "R²", "rms residual", "AICc above the best", "next size, rms error",
               "second half, rms error", "chosen for unseen sizes"]  # fmt: skip
    choices = {(row.variant, row.resource): row for row in results.choices}
    rows: list[Row] = []
    for fit in results.fits:
        key = (fit.variant, fit.resource)
        same = [other.aicc for other in results.fits if (other.variant, other.resource) == key]
        best = min((value for value in same if value is not None), default=None)
        choice = choices.get(key)
        rows.append(
            [
                *key,
                tag("b", fit.law) if fit.primary else fit.law,
                fixed(fit.r2_linear, 4),
                fixed(fit.rmse_log, 4),
                fixed(fit.aicc - best, 1) if best is not None and fit.aicc is not None else "–",
                fixed(choice.errors.get(fit.law), 4) if choice else "–",
                fixed(_second_half_error(results, fit), 4),
                "yes" if choice and choice.chosen == fit.law else "",
            ]
        )
    note = (
        "Errors and residuals are in log10 L. Next size: each size forecast from the smaller ones, nothing refitted; "
    )
    note += "laws with a free level per size cannot do that. Second half: the rest of every run from its first half."
    return joined([details("All laws on the same points", table(columns, rows, range(3, 8))),
                   paragraph(note, class_="note")])  # fmt: skip


def _second_half_error(results: StudyResults, fit: FitRecord) -> float | None:
    key = (fit.variant, fit.resource, fit.law, "last_50")
    tests = (test for test in results.backtests if (test.variant, test.resource, test.law, test.kind) == key)
    return next((test.rmse_log for test in tests), None)
