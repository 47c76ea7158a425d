"""Forecasts: what the laws would have said about points they never saw, and what they say about points nobody has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tasks.records.fits import BackTest, LawChoice
from tasks.report.format import compact, count, fixed, percent
from tasks.report.html import Html, Row, details, joined, paragraph, table, tag
from tasks.report.inputs import StudyResults
from tasks.report.sections import Section, figure_or_empty, section
from tasks.report.style import color
from tasks.report.svg import loss_axis, panels, svg_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CAPTION = (
    "Final loss of each size, forecast from the smaller sizes alone, and what was then measured. The law is the one "
    "with the smallest such error, so it looks a little better here than it would on new sizes. Intervals hold "
    "parameter, law, run-to-run and evaluation noise; wide ones mean that the study cannot extrapolate."
)
BEYOND = (
    "A size nobody has trained is read from the shape that the trained sizes share and the pivot law, damped beyond "
    "them; its intervals hold the errors that the same forecast made on trained sizes, in level and in slope. Of how "
    "initial models differ they hold what the runs of a size show: nothing where each size has one initial model."
)
KINDS = {
    "largest_out": "largest size left out",
    "next_size": "next size from the smaller ones",
    "size_out": "one size left out",
    "last_50": "second half of every run",
    "last_75": "last three quarters of every run",
}


def build(results: StudyResults) -> Section:
    """The section."""
    if not results.backtests:
        return section("forecasts", "Forecasts", [paragraph("The study is too small for a held-out test.")])
    figure = draw_forecasts(results)
    parts = [
        paragraph(
            "Every test cuts the points first; only the rest reaches the fit. Where a law has a free level per size, "
            "its level on a held-out size had to be taken from that size's own points, as the published study does; "
            "those rows are marked and are no forecasts."
        ),
        figure_or_empty(figure, CAPTION, "forecast against measured"),
        tag("h3", "Back-tests of the reported law and of the law chosen for unseen sizes"),
        _backtests(results),
        details("How the fit depends on the part of the runs it sees", _windows(results)),
        tag("h3", "Beyond the data"),
        _beyond(results),
        paragraph(BEYOND, class_="note"),
    ]
    return section("forecasts", "Forecasts", parts, {"forecasts": figure})


def draw_forecasts(results: StudyResults) -> str | None:
    """Draws each size's final loss, forecast from the smaller sizes alone by the law chosen for unseen sizes.

    Returns:
        None where there are no such back-tests.
    """
    cells = [(choice, tests) for choice in results.choices if (tests := _next_size_tests(results, choice))]
    if not cells:
        return None
    columns = len(cells)
    with panels("forecasts", 1, columns, (2.8 * columns, 3.4), sharey=True) as (figure, axes):
        for panel, (choice, tests) in zip(axes[0], cells, strict=True):
            _draw_choice(panel, choice, tests)
        for panel in axes[0]:
            loss_axis(panel)
        axes[0, 0].set_ylabel("final test loss L")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
        return svg_of(figure)


def _next_size_tests(results: StudyResults, choice: LawChoice) -> list[BackTest]:
    key = (choice.variant, choice.resource, choice.chosen, "next_size")
    tests = [test for test in results.backtests if (test.variant, test.resource, test.law, test.kind) == key]
    return [test for test in tests if test.last_forecast]


def _draw_choice(panel: Axes, choice: LawChoice, tests: list[BackTest]) -> None:
    index = np.arange(len(tests))
    last = [(test.last_forecast, test.last_low, test.last_high, test.last_measured) for test in tests]
    forecast, low, high, measured = np.array(last, dtype=float).T
    reach = np.nan_to_num(np.stack([forecast - low, high - forecast]).clip(min=0.0))
    panel.errorbar(index, forecast, reach, fmt="o", color=color("neutral"), markersize=5, elinewidth=5, alpha=0.55,
                   label="forecast from the smaller sizes, 95 % interval")  # fmt: skip
    panel.plot(index, measured, "D", color=color(choice.variant), markersize=5, label="measured")
    panel.set_xticks(index, [test.held_out for test in tests])
    panel.set_xlim(-0.6, len(tests) - 0.4)
    panel.set_title(f"{choice.variant}, {choice.resource}: {choice.chosen}", fontsize=9.5)
    panel.set_xlabel("held-out size")


def _backtests(results: StudyResults) -> Html:
    """Mean over held-out sizes for each kind of test."""
    columns = ["variant", "against", "law", "test", "held out", "rms error", "bias", "R²"]
    columns += ["in 50 %", "in 80 %", "in 95 %", "level refitted"]
    rows: list[Row] = []
    for test in _shown_tests(results):
        rows.append(
            [
                test.variant,
                test.resource,
                test.law,
                KINDS.get(test.kind, test.kind),
                test.held_out,
                fixed(test.rmse_log, 4),
                fixed(test.bias_log, 4),
                fixed(test.r2_linear, 3),
                *(percent(test.coverage.get(level), 0) for level in ("50", "80", "95")),
                "yes, no forecast" if test.level_refitted else "no",
            ]
        )
    note = (
        "Errors in log10 L; 0.01 is 2.3 % of the loss. The last columns: share of held-out points inside the interval."
    )
    return joined([table(columns, rows, range(5, 11)), paragraph(note, class_="note")])


def _shown_tests(results: StudyResults) -> list[BackTest]:
    """The tests of the reported and the chosen law that a reader asks for first."""
    laws: dict[tuple[str, str], set[str | None]]
    laws = {(row.variant, row.resource): {row.chosen} for row in results.choices}
    for fit in results.primary_fits:
        laws.setdefault((fit.variant, fit.resource), set()).add(fit.law)
    tests = [test for test in results.backtests if test.kind in ("largest_out", "last_50", "last_75")]
    return [test for test in tests if test.law in laws.get((test.variant, test.resource), set())]


def _windows(results: StudyResults) -> Html:
    names = list(dict.fromkeys(name for row in results.windows for name in row.coefficients))
    columns = ["variant", "against", "window", *names, "k of the largest size", "rms residual", "points"]
    rows: list[Row] = [
        [
            row.variant,
            row.resource,
            row.window,
            *(compact(row.coefficients.get(name)) for name in names),
            compact(row.k_largest),
            fixed(row.rmse_log, 4),
            count(row.points),
        ]
        for row in results.windows
    ]
    return table(columns, rows, range(3, len(columns)))


def _beyond(results: StudyResults) -> Html:
    columns = ["variant", "against", "law", "N", "X", "forecast L", "80 % interval", "95 % interval", "warnings"]
    rows: list[Row] = [
        [
            row.variant,
            row.resource,
            row.law,
            count(row.n),
            compact(row.x),
            fixed(row.loss),
            f"[{fixed(row.low80)}, {fixed(row.high80)}]",
            f"[{fixed(row.low95)}, {fixed(row.high95)}]",
            "; ".join(row.warnings),
        ]
        for row in results.forecasts
    ]
    return table(columns, rows, range(3, 8))
