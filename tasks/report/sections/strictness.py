"""Strict and lenient side by side: the losses and k of each size under both scores, and the part of the gain that is
format."""

from __future__ import annotations

from collections.abc import Callable

from tasks.records.fits import SizeSlope
from tasks.records.metrics import StepMetrics
from tasks.report.format import fixed, interval, percent
from tasks.report.format_gain import DRAWS, FormatGain
from tasks.report.html import Html, Row, paragraph, table
from tasks.report.inputs import RunLog, StudyResults
from tasks.report.sections import Section, section

INTRO = (
    "Strict is the reward: the right answer in the form that was asked for, a box. Lenient counts the right final "
    "answer wherever and however it stands. Losses before the first step and after the last, mean over runs."
)


def build(results: StudyResults, gains: list[FormatGain] | str) -> Section:
    """The section."""
    sentences = [f"Part of the gain that is format: not measured, {gains}."] if isinstance(gains, str) else [
        gain_sentence(gain) for gain in gains
    ]  # fmt: skip
    missing = results.lenient.missing
    note = [paragraph(f"Not every run has both scores: {missing}.", class_="note")] if missing else []
    parts = [paragraph(INTRO), *(paragraph(text, class_="lead") for text in sentences), _table(results), *note]
    return section("format", "Learning or format", parts)


def gain_sentence(gain: FormatGain) -> str:
    """How much of a variant's gain is format, with its interval."""
    text = (
        f"{gain.variant}: from the first to the last step the strict loss fell by {interval(gain.strict)} and the "
        f"lenient loss by {interval(gain.lenient)}; the difference, {interval(gain.difference)}, is format"
    )
    if gain.share.value is None:
        text += " (no share of the gain is given, since the strict gain is not clearly above 0)"
    else:
        low, high = gain.share.low, gain.share.high
        text += f", {percent(gain.share.value)} of the gain [{percent(low)}, {percent(high)}]"
    return f"{text} ({gain.runs} runs; {DRAWS} paired draws of runs and problems)."


def _table(results: StudyResults) -> Html:
    columns = ["variant", "size", "L strict, first", "L strict, last", "L lenient, first", "L lenient, last"]
    columns += [f"k {score}, against {name}" for name in results.resources for score in ("strict", "lenient")]
    rows: list[Row] = []
    for variant in results.variants:
        for size in results.sizes:
            runs = results.scale_runs(variant, size)
            strict, lenient = _ends(runs, lambda row: row.test_loss), _ends(runs, lambda row: row.test_loss_lenient)
            slopes = [interval(k.k_alone) if k and k.k_alone else "–" for k in _slopes(results, variant, size)]
            rows.append([variant, size, *(fixed(loss) for loss in (*strict, *lenient)), *slopes])
    return table(columns, rows, range(2, len(columns)))


def _ends(runs: list[RunLog], loss: Callable[[StepMetrics], float | None]) -> tuple[float | None, float | None]:
    """Mean loss of runs at their first and at their last measured step; None where a run has none."""
    curves = [list(log.curve(loss).values()) for log in runs]
    if not curves or not all(curves):
        return None, None
    return sum(curve[0] for curve in curves) / len(curves), sum(curve[-1] for curve in curves) / len(curves)


def _slopes(results: StudyResults, variant: str, size: str) -> list[SizeSlope | None]:
    """The size's slopes along each resource, strict and lenient in turn."""
    found: list[SizeSlope | None] = []
    for resource in results.resources:
        for fits in (results.primary_fits, results.lenient.fits):
            slopes = [
                slope
                for fit in fits
                if (fit.variant, fit.resource) == (variant, resource)
                for slope in fit.by_size
                if slope.size == size
            ]
            found.append(slopes[0] if slopes else None)
    return found
