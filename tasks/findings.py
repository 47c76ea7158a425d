"""The study's findings in a few lines, read from the fit stage's files; what `rlscale study` prints at its end."""

from __future__ import annotations

from tasks.finding_records import Finding, FindingsFile
from tasks.fit_records import FitRecord, FitsFile
from tasks.format import interval, number
from tasks.layout import Layout
from tasks.params import Params


def read_findings(params: Params) -> dict[str, list[dict[str, str]]]:
    """Reads the law of each variant and resource, and the verdict on each published claim.

    Returns:
        `laws` and `claims`, rows of text ready to be printed; empty where the stage has not run.
    """
    folder = Layout.of(params).stage("fit")
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
