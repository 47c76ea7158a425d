"""The study's findings in a few lines, read from the fit stage's files; what `rlscale study` prints at its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tasks.study.params import Params
from tasks.study.paths import StudyPaths


def read_findings(params: Params) -> dict[str, list[dict[str, str]]]:
    """Reads the law of each variant and resource, and the verdict on each published claim.

    Returns:
        `laws` and `claims`, rows of text ready to be printed; empty where the stage has not run.
    """
    paths = StudyPaths.of(params)
    fits = _entries(paths.fits, "fits")
    laws = [_law(fit) for fit in fits if fit["primary"]]
    claims = [_claim(finding) for finding in _entries(paths.findings, "findings")]
    return {"laws": laws, "claims": claims}


def _entries(path: Path, key: str) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    entries: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))[key]
    return entries


def _law(fit: dict[str, Any]) -> dict[str, str]:
    """One fit: its coefficients with intervals, k of its smallest and largest size, R2."""
    row = {"variant": fit["variant"], "resource": fit["resource"], "law": fit["law"]}
    row |= {name: interval(value) for name, value in fit["coefficients"].items()}
    sizes = sorted(fit["by_size"], key=lambda size: size["n"])
    row |= {f"k({size['size']})": interval(size["k"]) for size in (sizes[0], sizes[-1])} if sizes else {}
    return row | {"R2": number(fit["r2_linear"]), "R2 log": number(fit["r2_log"])}


def _claim(finding: dict[str, Any]) -> dict[str, str]:
    row = {"claim": f"{finding['claim']} {finding['key']}"}
    row |= {name: finding[name] for name in ("variant", "resource", "verdict")}
    return row | {"effect": interval(finding["effect"]), "unit": finding["unit"]}


def interval(estimate: dict[str, Any]) -> str:
    """`value [low, high]`, or the value alone where it has no interval."""
    if estimate["low"] is None or estimate["high"] is None:
        return number(estimate["value"])
    return f"{number(estimate['value'])} [{number(estimate['low'])}, {number(estimate['high'])}]"


def number(value: float | None) -> str:
    """Three significant digits; a dash for what does not exist."""
    return "-" if value is None else f"{value:.3g}"
