"""Verdicts in words. A sentence never says more than its verdicts: what was not shown is called not shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tasks.records.findings import Finding
from tasks.records.fits import Estimate, FitRecord
from tasks.records.published import CLAIMS
from tasks.report.format import interval, relative

VERDICTS = ("supported", "contradicted", "undecided")


def count_verdicts(findings: Sequence[Finding]) -> dict[str, int]:
    """Number of findings by verdict, all three verdicts present."""
    counts = Counter(finding.verdict for finding in findings)
    return {verdict: counts[verdict] for verdict in VERDICTS}


def headline(findings: Sequence[Finding]) -> str:
    """The study's answer to the four claims in one sentence."""
    if not findings:
        return "This study cannot judge the published claims: the fit made no finding."
    supported, contradicted, undecided = count_verdicts(findings).values()
    start = f"Of {len(findings)} tests of the published claims, {supported} support them"
    return f"{start}, {contradicted} contradict them and {undecided} cannot decide."


def plain_sentences(findings: Sequence[Finding]) -> list[str]:
    """The study in five sentences or so: the headline, then what it says about each claim."""
    claims = ((text, [row for row in findings if row.claim == claim]) for claim, text in CLAIMS.items())
    return [headline(findings), *(f"{text.rstrip('.')}: {_lowered(sentence(rows))}" for text, rows in claims)]


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


def sentence(findings: Sequence[Finding]) -> str:
    """What the findings on one claim say together."""
    if not findings:
        return "Not tested: the grid has too few runs for it."
    total = len(findings)
    supported, contradicted, undecided = count_verdicts(findings).values()
    if supported == total:
        return "This study shows it too." if total == 1 else f"This study shows it too, in all {total} tests."
    if undecided == total:
        return "This study cannot tell." if total == 1 else f"This study cannot tell, in any of {total} tests."
    if contradicted == total:
        return f"This study does not show what the paper found; all {total} tests contradict it."
    start = f"Supported in {supported} of {total} tests"
    if contradicted:
        start = "This study does not show what the paper found throughout. " + start
        start += f"; contradicted for {_tests_with(findings, 'contradicted')}"
    return f"{start}; undecided for {_tests_with(findings, 'undecided')}." if undecided else f"{start}."


def _tests_with(findings: Sequence[Finding], verdict: str) -> str:
    """The tests with a verdict, e.g. `k saturates (base, compute; instruct, data)`."""
    subjects: dict[str, list[str]] = {}
    for finding in findings:
        if finding.verdict == verdict:
            subjects.setdefault(finding_name(finding), []).append(tested_on(finding))
    return ", ".join(f"{name} ({'; '.join(listed)})" for name, listed in subjects.items())


def finding_name(finding: Finding) -> str:
    """What a finding tested in a few words, e.g. `k saturates`."""
    return finding.key.removesuffix(f"_{finding.resource}").replace("_", " ")


def tested_on(finding: Finding) -> str:
    """Variant, and resource where the claim has one."""
    return finding.variant if finding.resource == "steps" else f"{finding.variant}, {finding.resource}"


def effect_text(finding: Finding) -> str:
    """A finding's effect with its interval, in the unit a reader thinks in."""
    effect = finding.effect
    if effect.value is None:
        return "not measured"
    if finding.unit.startswith("log10 L"):
        return relative(Estimate(_power(effect.value), _power(effect.low), _power(effect.high)))
    return relative(effect) if finding.unit.startswith("final loss") else interval(effect)


def effect_label(finding: Finding) -> str:
    """What `effect_text` is."""
    if finding.key == "reuse_harmless_to_25":
        return "Final loss against τ = 1, worst τ up to 25"
    if finding.key == "reuse_harm_at_100":
        return "Final loss against τ = 1, τ = 100"
    if finding.unit.startswith("log10 L"):
        return "Change of loss" + finding.unit.removeprefix("log10 L")
    labels = {
        "R2": "R² of the law",
        "k(largest) - k(smallest)": "k of the largest size minus k of the smallest",
        "log-likelihood over the non-saturating rival": "Log-likelihood above a law that does not saturate",
    }
    return labels.get(finding.unit, finding.unit)


def slope_text(fit: FitRecord) -> str:
    """What the slopes of a fit mean: the change of loss for ten times the resource."""
    by_size = sorted(fit.by_size, key=lambda row: row.n)
    smallest, largest = by_size[0], by_size[-1]
    text = (
        f"{fit.variant.capitalize()}: ten times the {fit.resource} changes the loss of the smallest "
        f"size ({smallest.size}) by {_decade_text(smallest.k)} and that of the largest ({largest.size}) by "
        f"{_decade_text(largest.k)}."
    )
    rises = largest.k.high is not None and largest.k.high < 0
    return f"{text} Loss rises: whatever the law's R², it describes no learning here." if rises else text


def _decade_text(k: Estimate) -> str:
    """Relative change of loss for ten times the resource, 10^-k; a larger k is a lower loss, so the ends swap."""
    value, low, high = (None if slope is None else -slope for slope in (k.value, k.high, k.low))
    return relative(Estimate(_power(value), _power(low), _power(high)))


def _power(exponent: float | None) -> float | None:
    return None if exponent is None else 10.0**exponent
