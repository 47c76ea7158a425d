"""Verdicts in words. A sentence never says more than its verdicts: what was not shown is called not shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from tasks.report.numbers import between, change, interval

# A larger k is a lower loss, so the ends of its interval change places.
_FLIPPED = {"value": "value", "low": "high", "high": "low"}
VERDICTS = ("supported", "contradicted", "undecided")


def tally(findings: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Number of findings by verdict, all three verdicts present."""
    counts = Counter(finding["verdict"] for finding in findings)
    return {verdict: counts[verdict] for verdict in VERDICTS}


def headline(findings: Sequence[dict[str, Any]]) -> str:
    """The study's answer to the four claims in one sentence."""
    if not findings:
        return "This study cannot judge the published claims: the fit made no finding."
    counts, total = tally(findings), len(findings)
    start = f"Of {total} tests of the published claims, {counts['supported']} support them"
    return f"{start}, {counts['contradicted']} contradict them and {counts['undecided']} cannot decide."


def sentence(findings: Sequence[dict[str, Any]]) -> str:
    """What the findings on one claim say together."""
    if not findings:
        return "Not tested: the grid has too few runs for it."
    counts, total = tally(findings), len(findings)
    if counts["supported"] == total:
        return "This study shows it too." if total == 1 else f"This study shows it too, in all {total} tests."
    if counts["undecided"] == total:
        return "This study cannot tell." if total == 1 else f"This study cannot tell, in any of {total} tests."
    against, open_ones = (_named(findings, verdict) for verdict in ("contradicted", "undecided"))
    if counts["contradicted"] == total:
        return f"This study does not show what the paper found; all {total} tests contradict it."
    start = f"Supported in {counts['supported']} of {total} tests"
    if counts["contradicted"]:
        start = "This study does not show what the paper found throughout. " + start
        start += f"; contradicted for {against}"
    return f"{start}; undecided for {open_ones}." if counts["undecided"] else f"{start}."


def _named(findings: Sequence[dict[str, Any]], verdict: str) -> str:
    """The tests with a verdict, e.g. `k saturates (base, compute; instruct, data)`."""
    where: dict[str, list[str]] = {}
    for finding in findings:
        if finding["verdict"] == verdict:
            where.setdefault(short(finding), []).append(tested_on(finding))
    return ", ".join(f"{name} ({'; '.join(places)})" for name, places in where.items())


def short(finding: dict[str, Any]) -> str:
    """What a finding tested in a few words, e.g. `k saturates`."""
    return str(finding["key"]).removesuffix(f"_{finding['resource']}").replace("_", " ")


def tested_on(finding: dict[str, Any]) -> str:
    """Variant, and resource where the claim has one."""
    return finding["variant"] if finding["resource"] == "steps" else f"{finding['variant']}, {finding['resource']}"


def effect(finding: dict[str, Any]) -> str:
    """A finding's effect with its interval, in the unit a reader thinks in."""
    estimate, unit = finding["effect"], finding["unit"]
    if estimate["value"] is None:
        return "not measured"
    if unit.startswith("log10 L"):
        return _relative({name: 10.0**value if value is not None else None for name, value in estimate.items()})
    if unit.startswith("final loss"):
        return _relative(estimate)
    return interval(estimate)


def meaning(finding: dict[str, Any]) -> str:
    """What `effect` is."""
    if finding["key"] == "reuse_harmless_to_25":
        return "Final loss against τ = 1, worst τ up to 25"
    if finding["key"] == "reuse_harm_at_100":
        return "Final loss against τ = 1, τ = 100"
    given = str(finding["unit"])
    if given.startswith("log10 L"):
        return "Change of loss" + given.removeprefix("log10 L")
    return {"R2": "R² of the law", "k(largest) - k(smallest)": "k of the largest size minus k of the smallest",
            "log-likelihood over the non-saturating rival": "Log-likelihood above a law that does not saturate"
            }.get(given, given)  # fmt: skip


def in_law(fit: dict[str, Any]) -> str:
    """What the slopes of a fit along compute mean: the change of loss for ten times the compute."""
    ends = sorted(fit["by_size"], key=lambda row: row["n"])
    small, large = (
        _relative({name: None if row["k"][end] is None else 10.0 ** -row["k"][end] for name, end in _FLIPPED.items()})
        for row in (ends[0], ends[-1])
    )
    text = (
        f"{fit['variant'].capitalize()}: ten times the {fit['resource']} changes the loss of the smallest "
        f"size ({ends[0]['size']}) by {small} and that of the largest ({ends[-1]['size']}) by {large}."
    )
    rises = ends[-1]["k"]["high"] is not None and ends[-1]["k"]["high"] < 0
    return f"{text} Loss rises: whatever the law's R², it describes no learning here." if rises else text


def _relative(ratio: dict[str, float | None]) -> str:
    if ratio["low"] is None or ratio["high"] is None:
        return change(ratio["value"])
    return between(change(ratio["value"]), change(ratio["low"]), change(ratio["high"]))
