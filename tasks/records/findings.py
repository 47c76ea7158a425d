"""`findings.json` of the fit stage as typed records: the published claims, judged, and the effects behind them.

`read_findings` gives them, with the laws, as the few lines that `rlscale study` prints at its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tasks.records.fits import Estimate, FitRecord, FitsFile
from tasks.records.format import interval, number
from tasks.records.json_files import JsonFile
from tasks.study.params import Params
from tasks.study.paths import StudyPaths


def read_findings(params: Params) -> dict[str, list[dict[str, str]]]:
    """Reads the law of each variant and resource, and the verdict on each published claim.

    Returns:
        `laws` and `claims`, rows of text ready to be printed; empty where the stage has not run.
    """
    folder = StudyPaths.of(params).stage("fit")
    fits = FitsFile.read(folder).fits if (folder / FitsFile.NAME).is_file() else []
    findings = FindingsFile.read(folder).findings if (folder / FindingsFile.NAME).is_file() else []
    return {"laws": [_law(fit) for fit in fits if fit.primary], "claims": [_claim(finding) for finding in findings]}


def _law(fit: FitRecord) -> dict[str, str]:
    """One fit: its coefficients with intervals, k of its smallest and largest size, R2."""
    row = {"variant": fit.variant, "resource": fit.resource, "law": fit.law}
    row |= {name: interval(value) for name, value in fit.coefficients.items()}
    sizes = sorted(fit.by_size, key=lambda size: size.n)
    row |= {f"k({size.size})": interval(size.k) for size in (sizes[0], sizes[-1])} if sizes else {}
    return row | {"R2": number(fit.r2_linear, 3, "-"), "R2 log": number(fit.r2_log, 3, "-")}


def _claim(finding: Finding) -> dict[str, str]:
    row = {"claim": f"{finding.claim} {finding.key}", "variant": finding.variant, "resource": finding.resource}
    return row | {"verdict": finding.verdict, "effect": interval(finding.effect), "unit": finding.unit}


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
