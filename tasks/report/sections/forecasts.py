"""Forecasts: what the laws would have said about points they never saw, and what they say about points nobody has."""

from __future__ import annotations

from typing import Any

from tasks.report.evidence import Evidence
from tasks.report.html import Html, Row, details, joined, paragraph, table, tag
from tasks.report.numbers import compact, count, fixed, percent
from tasks.report.sections.section import Pictures, Section, section, shown

CAPTION = (
    "Final loss of each size, forecast from the smaller sizes alone, and what was then measured. The law is the one "
    "with the smallest such error, so it looks a little better here than it would on new sizes. Intervals hold "
    "parameter, law, run-to-run and evaluation noise; wide ones mean that the study cannot extrapolate."
)
KINDS = {
    "largest_out": "largest size left out",
    "next_size": "next size from the smaller ones",
    "size_out": "one size left out",
    "last_50": "second half of every run",
    "last_75": "last three quarters of every run",
}


def build(evidence: Evidence, pictures: Pictures) -> Section:
    """The section."""
    tests = evidence.tests["backtests"]
    if not tests:
        return section("forecasts", "Forecasts", [paragraph("The study is too small for a held-out test.")])
    parts = [
        paragraph(
            "Every test cuts the points first; only the rest reaches the fit. Where a law has a free level per size, "
            "its level on a held-out size had to be taken from that size's own points, as the published study does; "
            "those rows are marked and are no forecasts."
        ),
        shown(pictures, "forecasts", CAPTION, "forecast against measured"),
        tag("h3", "Back-tests of the reported law and of the law chosen for unseen sizes"),
        _backtests(evidence),
        details("How the fit depends on the part of the runs it sees", _windows(evidence)),
        tag("h3", "Beyond the data"),
        _beyond(evidence),
    ]
    return section("forecasts", "Forecasts", parts)


def _backtests(evidence: Evidence) -> Html:
    """Mean over held-out sizes for each kind of test."""
    columns = ["variant", "against", "law", "test", "held out", "rms error", "bias", "R²"]
    columns += ["in 50 %", "in 80 %", "in 95 %", "level refitted"]
    rows: list[Row] = []
    for test in _shown_tests(evidence):
        cover = test["coverage"]
        rows.append(
            [
                test["variant"],
                test["resource"],
                test["law"],
                KINDS.get(test["kind"], test["kind"]),
                test["held_out"],
                fixed(test["rmse_log"], 4),
                fixed(test["bias_log"], 4),
                fixed(test["r2_linear"], 3),
                *(percent(cover.get(level), 0) for level in ("50", "80", "95")),
                "yes, no forecast" if test["level_refitted"] else "no",
            ]
        )
    note = (
        "Errors in log10 L; 0.01 is 2.3 % of the loss. The last columns: share of held-out points inside the interval."
    )
    return joined([table(columns, rows, range(5, 11)), paragraph(note, class_="note")])


def _shown_tests(evidence: Evidence) -> list[dict[str, Any]]:
    """The tests of the reported and the chosen law that a reader asks for first."""
    laws = {(row["variant"], row["resource"]): {row["chosen"]} for row in evidence.tests["choice"]}
    for fit in evidence.fits:
        if fit["primary"]:
            laws.setdefault((fit["variant"], fit["resource"]), set()).add(fit["law"])
    kinds = ("largest_out", "last_50", "last_75")
    tests = [test for test in evidence.tests["backtests"] if test["kind"] in kinds]
    return [test for test in tests if test["law"] in laws.get((test["variant"], test["resource"]), set())]


def _windows(evidence: Evidence) -> Html:
    names = list(dict.fromkeys(name for row in evidence.tests["windows"] for name in row["coefficients"]))
    columns = ["variant", "against", "window", *names, "k of the largest size", "rms residual", "points"]
    rows: list[Row] = [
        [
            row["variant"],
            row["resource"],
            row["window"],
            *(compact(row["coefficients"].get(name)) for name in names),
            compact(row["k_largest"]),
            fixed(row["rmse_log"], 4),
            count(row["points"]),
        ]
        for row in evidence.tests["windows"]
    ]
    return table(columns, rows, range(3, len(columns)))


def _beyond(evidence: Evidence) -> Html:
    columns = ["variant", "against", "law", "N", "X", "forecast L", "80 % interval", "95 % interval", "warnings"]
    rows: list[Row] = [
        [
            row["variant"],
            row["resource"],
            row["law"],
            count(row["n"]),
            compact(row["x"]),
            fixed(row["loss"]),
            f"[{fixed(row['low80'])}, {fixed(row['high80'])}]",
            f"[{fixed(row['low95'])}, {fixed(row['high95'])}]",
            "; ".join(row["warnings"]),
        ]
        for row in evidence.forecasts
    ]
    return table(columns, rows, range(3, 8))
