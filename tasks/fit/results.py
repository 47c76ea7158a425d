"""What the fit stage writes below `data/fit/`, as typed records: the contract with the report, the tracker and DVC.

| file | content |
|---|---|
| points.parquet | one row per run and step, columns as in `tasks.fit.points.COLUMNS` |
| fits.json | `{"fits": [FitRecord]}`, every law for each variant x resource; `primary` marks the law named in params |
| bootstrap.parquet | primary law: variant, resource, law, draw, name (coefficient, `k:<size>`, `E:<size>`), value |
| backtests.json | keys backtests [BackTest], windows [WindowFit], saturation [SaturationTest], choice [Choice] |
| forecasts.json | `{"forecasts": [ForecastRecord]}`: twice the largest size, twice the resource of the largest |
| findings.json | keys findings [Finding] (the published claims, judged), reuse [ReuseEffect], pairs [PairEffect] |
| metrics.json | flat name -> number for `dvc metrics show` |
| manifest.json | completion marker of the stage |

Intervals are 95 % unless a field says otherwise. A number that does not exist (an interval of a coefficient without
draws, an R2 of a constant) is null. All logarithms are base 10.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tasks.errors import InputError

Row = TypeVar("Row")


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval; null bounds where it has none."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Flag:
    """A warning about a fit: a short code (at_bound, n0_unidentified, ridge, few_sizes, ...) and a sentence."""

    code: str
    text: str


@dataclass(frozen=True)
class SizeSlope:
    """One size in a fit.

    Attributes:
        n: N, parameters.
        size: its name.
        k: learning efficiency under the law.
        k_alone: learning efficiency of this size fitted alone (`loglinear`), what the law is to be compared with.
        level: E_i; null for laws without free levels.
        runs: runs of this size.
        points: points of this size.
    """

    n: float
    size: str
    k: Estimate
    k_alone: Estimate
    level: Estimate | None
    runs: int
    points: int


@dataclass(frozen=True)
class FitRecord:
    """One law fitted to one variant along one resource.

    Attributes:
        variant: base, instruct, or the group's name.
        resource: compute (FLOPs), data (prompts) or a column's name.
        law: name of the law.
        equation: the law in one line.
        primary: whether this is the law the params name.
        points: points fitted.
        runs: runs fitted.
        coefficients: by name, e.g. Kmax and N0; E_i are in `by_size`.
        profile: profile-likelihood intervals of Kmax and N0, where the law has them.
        by_size: k and E of every size.
        r2_linear: R2 in linear loss over all points, as published.
        r2_log: R2 in log10 loss.
        rmse_log: root mean square residual in log10 loss.
        aicc: corrected Akaike criterion; comparable between laws with the same objective and points.
        bic: Bayesian criterion.
        flags: warnings.
        options: objective, skip_steps, equal_weight, draws, seed, resampling, and resampling_used by size.
    """

    variant: str
    resource: str
    law: str
    equation: str
    primary: bool
    points: int
    runs: int
    coefficients: dict[str, Estimate]
    profile: dict[str, Estimate]
    by_size: list[SizeSlope]
    r2_linear: float | None
    r2_log: float | None
    rmse_log: float
    aicc: float | None
    bic: float | None
    flags: list[Flag]
    options: dict[str, Any]


@dataclass(frozen=True)
class BackTest:
    """A forecast of points that the fit never saw.

    Attributes:
        variant: as in `FitRecord`.
        resource: as in `FitRecord`.
        law: name of the law.
        kind: largest_out, next_size (each size from the smaller ones), size_out (each size in turn), last_50, last_75.
        held_out: name of the held-out size, or of all sizes for the trajectory tests.
        level_refitted: whether E of the held-out size was taken from its own points (laws with free levels, as
        published).
        points: held-out points.
        rmse_log: root mean square error in log10 loss.
        bias_log: mean of forecast minus measured, log10 loss.
        r2_linear: R2 in linear loss over the held-out points.
        coverage: share of held-out points inside the 50, 80 and 95 % prediction intervals.
        last_measured: loss of the held-out trajectory's last point (largest X), null for the trajectory tests.
        last_forecast: its forecast.
        last_low: lower end of its 95 % prediction interval.
        last_high: upper end.
    """

    variant: str
    resource: str
    law: str
    kind: str
    held_out: str
    level_refitted: bool
    points: int
    rmse_log: float
    bias_log: float
    r2_linear: float | None
    coverage: dict[str, float]
    last_measured: float | None = None
    last_forecast: float | None = None
    last_low: float | None = None
    last_high: float | None = None


@dataclass(frozen=True)
class WindowFit:
    """The primary law fitted to a part of every trajectory: `window` says which, e.g. `0-50 %`."""

    variant: str
    resource: str
    law: str
    window: str
    points: int
    coefficients: dict[str, float | None]
    k_largest: float
    rmse_log: float


@dataclass(frozen=True)
class SaturationTest:
    """Does k(N) saturate? `saturating` against `power_k` and against constant k.

    Attributes:
        growth_lr: likelihood ratio of saturating against constant k, per run-level dispersion (F statistic).
        growth_p: its p value.
        rival_lr: log-likelihood of saturating minus that of power_k, in units of the dispersion (not nested).
        rival_p: p value of Vuong's test with runs as units; small means one of the two is better.
        held_out: RMSE in log10 k of forecasting the next larger size's slope, by law.
        growth: verdict on "k grows with N": supported, contradicted or undecided.
        verdict: verdict on "k saturates".
    """

    variant: str
    resource: str
    growth_lr: float
    growth_p: float
    rival_lr: float
    rival_p: float
    held_out: dict[str, float | None]
    growth: str
    verdict: str
    reason: str


@dataclass(frozen=True)
class Choice:
    """Held-out error of every law that can forecast an unseen size, and the law it picks.

    Attributes:
        errors: by law, RMSE in log10 loss of next_size forecasts.
        chosen: the law with the smallest error.
    """

    variant: str
    resource: str
    errors: dict[str, float | None]
    chosen: str | None


@dataclass(frozen=True)
class ForecastRecord:
    """Predicted loss of a size at a resource; intervals hold parameter, law, run-to-run and evaluation noise."""

    variant: str
    resource: str
    law: str
    n: float
    x: float
    seen_size: bool
    loss: float
    low50: float
    high50: float
    low80: float
    high80: float
    low95: float
    high95: float
    n_factor: float
    x_factor: float
    warnings: list[str]


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


def plain(value: Any) -> Any:
    """Records as JSON values: dataclasses to dicts, numpy numbers to Python ones, NaN and infinities to null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {entry.name: plain(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_rows(folder: Path, file: str, key: str) -> list[dict[str, Any]]:
    """Reads a list of records, as dicts, from one of the stage's JSON files.

    Args:
        folder: `data/fit/`.
        file: e.g. fits.json.
        key: e.g. fits.

    Raises:
        InputError: the stage has not written the file.
    """
    try:
        value = json.loads((folder / file).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder / file}: no such file; run `rlscale fit` first") from None
    return list(value[key])
