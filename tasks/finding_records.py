"""`findings.json` of the fit stage as typed records: the published claims, judged, and the effects behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tasks.fit_records import Estimate
from tasks.record_files import JsonFile


@dataclass(frozen=True)
class ReuseEffect:
    """Effect of seeing every prompt tau times instead of once, at the same steps.

    Attributes:
        tau: reuse factor.
        overall: d(tau), shift of log10 L over the whole trajectory.
        final: the same over the last fifth of the steps, the one the verdict rests on.
        ratio: final loss over the final loss at tau = 1, 10^final.
    """

    variant: str
    tau: float
    overall: Estimate
    final: Estimate
    ratio: Estimate


@dataclass(frozen=True)
class PairEffect:
    """Neighbouring sizes: difference of log10 L, larger minus smaller, at the largest X both reached."""

    variant: str
    resource: str
    smaller: str
    larger: str
    x: float
    difference: Estimate


@dataclass(frozen=True)
class Finding:
    """A published claim, judged on these points.

    Attributes:
        claim: 1 to 4, as in the published study.
        key: short name, e.g. larger_better_compute.
        statement: the claim in one sentence.
        variant: base, instruct or group.
        resource: compute, data or steps.
        effect: what was measured, with its interval, null where it could not be measured.
        unit: what the effect is.
        verdict: supported, contradicted or undecided.
        reason: the rule that led to the verdict, with numbers.
    """

    claim: int
    key: str
    statement: str
    variant: str
    resource: str
    effect: Estimate
    unit: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class FindingsFile(JsonFile):
    """findings.json."""

    NAME: ClassVar[str] = "findings.json"
    findings: list[Finding]
    reuse: list[ReuseEffect]
    pairs: list[PairEffect]
