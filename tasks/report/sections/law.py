"""The law: pictures of loss against compute and data, coefficients beside the published ones, k by size, rival laws."""

from __future__ import annotations

from typing import Any

from tasks.report.evidence import Evidence
from tasks.report.html import Html, Row, details, joined, paragraph, table, tag
from tasks.report.numbers import compact, count, fixed, interval
from tasks.report.published import FITS, LARGEST, SOURCE
from tasks.report.sections.section import Pictures, Section, section, shown

LEARNING = (
    "Dots: k of each size fitted alone, with its 95 % interval. Curve and band: k(N) of the fitted law. A curve that "
    "misses the dots is a law that does not fit."
)
DOTS = (
    "Dots: mean over seeds and over the steps of one of 22 equal parts of the axis. Lines: the fitted law, from every "
    "step of every run. Bands: 95 % interval of the line."
)


def build(evidence: Evidence, pictures: Pictures) -> Section:
    """The section."""
    fits = [fit for fit in evidence.fits if fit["primary"]]
    if not fits:
        return section("law", "The law", [paragraph("No law was fitted.")])
    first = fits[0]
    intro = paragraph(
        "Fitted law:", tag("code", first["equation"]), "with logarithms to base 10, L = 1 − pass@1 on the held-out "
        f"problems, by exact least squares ({first['options']['objective']} objective, "
        f"{count(first['options']['draws'])} draws for the intervals)."
    )  # fmt: skip
    parts = [
        intro,
        shown(pictures, "law_compute", f"Test loss against training compute. {DOTS}", "test loss against compute"),
        shown(pictures, "law_data", f"Test loss against data. {DOTS}", "test loss against data"),
        tag("h3", "Coefficients"),
        _coefficients(fits),
        _flags(fits),
        _beside_published(fits),
        tag("h3", "Learning efficiency"),
        shown(pictures, "learning", LEARNING, "k(N) by size"),
        details("k and E of every size", _by_size(fits)),
        tag("h3", "Rival laws"),
        _rivals(evidence),
    ]
    return section("law", "The law", parts)


def _coefficients(fits: list[dict[str, Any]]) -> Html:
    names = list(dict.fromkeys(name for fit in fits for name in fit["coefficients"]))
    columns = ["variant", "against", "law", *names, "R²", "R² of log L", "rms residual", "points", "runs"]
    rows: list[Row] = []
    for fit in fits:
        values = fit["coefficients"]
        row = [fit["variant"], fit["resource"], fit["law"]]
        row += [interval(values[name]) if name in values else "–" for name in names]
        row += [fixed(fit["r2_linear"], 4), fixed(fit["r2_log"], 4), fixed(fit["rmse_log"], 4)]
        row += [count(fit["points"]), count(fit["runs"])]
        rows.append(row)
    note = paragraph(
        "R² in linear loss, as published, is flattered by the differences between sizes, which the free E(N) takes up.",
        class_="note",
    )
    return joined([table(columns, rows, range(3, len(columns))), note])


def _beside_published(fits: list[dict[str, Any]]) -> Html:
    """The published fits in the same units; N0 as a share of the largest size, the families being far apart in size."""
    rows: list[Row] = []
    for fit in fits:
        published, n0 = FITS.get((fit["variant"], fit["resource"])), fit["coefficients"].get("N0")
        if published is None or n0 is None or n0["value"] is None:
            continue
        largest = max(entry["n"] for entry in fit["by_size"])
        row = [fit["variant"], fit["resource"], compact(fit["coefficients"]["Kmax"]["value"]), compact(published.kmax)]
        row += [compact(n0["value"] / largest), compact(published.n0 / LARGEST)]
        rows.append([*row, fixed(fit["r2_linear"], 4), fixed(published.r2, 4)])
    if not rows:
        return Html("")
    columns = ["variant", "against", "Kmax", "published", "N0 / largest N", "published", "R²", "published"]
    note = f"Published: {SOURCE}, Qwen2.5 0.5B to 72B. N0 is a share of the largest size, since the families differ by "
    note += "five orders of magnitude; other problems and models, so nothing says that the numbers should agree."
    return details(
        "Beside the published fits", joined([table(columns, rows, range(2, 8)), paragraph(note, class_="note")])
    )


def _flags(fits: list[dict[str, Any]]) -> Html:
    """Warnings of the fits, each once with the fits it concerns."""
    where: dict[str, list[str]] = {}
    for fit in fits:
        for flag in fit["flags"]:
            where.setdefault(flag["text"], []).append(f"{fit['variant']}, {fit['resource']}")
    if not where:
        return Html("")
    lines = [tag("li", joined([tag("b", "; ".join(names) + ": "), text])) for text, names in where.items()]
    return tag("ul", joined(lines), class_="warnings")


def _by_size(fits: list[dict[str, Any]]) -> Html:
    columns = ["variant", "against", "size", "N", "k of the law", "k fitted alone", "E", "runs", "points"]
    rows: list[Row] = [
        [
            fit["variant"],
            fit["resource"],
            entry["size"],
            count(entry["n"]),
            interval(entry["k"]),
            interval(entry["k_alone"]),
            interval(entry["level"]) if entry["level"] else "–",
            str(entry["runs"]),
            count(entry["points"]),
        ]
        for fit in fits
        for entry in fit["by_size"]
    ]
    return table(columns, rows, range(3, 9))


def _rivals(evidence: Evidence) -> Html:
    """All laws on the same points: AICc differences, and error on sizes that the fit never saw."""
    columns = ["variant", "against", "law", "R²", "rms residual", "AICc above the best", "next size, rms error",
               "second half, rms error", "chosen for unseen sizes"]  # fmt: skip
    chosen = {(row["variant"], row["resource"]): row for row in evidence.tests["choice"]}
    rows: list[Row] = []
    for fit in evidence.fits:
        key = (fit["variant"], fit["resource"])
        same = [other["aicc"] for other in evidence.fits if (other["variant"], other["resource"]) == key]
        best = min((value for value in same if value is not None), default=None)
        choice = chosen.get(key)
        rows.append(
            [
                *key,
                tag("b", fit["law"]) if fit["primary"] else fit["law"],
                fixed(fit["r2_linear"], 4),
                fixed(fit["rmse_log"], 4),
                fixed(fit["aicc"] - best, 1) if best is not None and fit["aicc"] is not None else "–",
                fixed(choice["errors"].get(fit["law"]), 4) if choice else "–",
                fixed(_half(evidence, fit), 4),
                "yes" if choice and choice["chosen"] == fit["law"] else "",
            ]
        )
    note = (
        "Errors and residuals are in log10 L. Next size: each size forecast from the smaller ones, nothing refitted; "
    )
    note += "laws with a free level per size cannot do that. Second half: the rest of every run from its first half."
    return joined([details("All laws on the same points", table(columns, rows, range(3, 8))),
                   paragraph(note, class_="note")])  # fmt: skip


def _half(evidence: Evidence, fit: dict[str, Any]) -> float | None:
    key = (fit["variant"], fit["resource"], fit["law"], "last_50")
    tests = evidence.tests["backtests"]
    found = (t["rmse_log"] for t in tests if (t["variant"], t["resource"], t["law"], t["kind"]) == key)
    return next(found, None)
