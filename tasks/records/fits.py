"""What the fit stage writes below `data/fit/`, as typed records: the contract with the report, the tracker and DVC.

| file | content |
|---|---|
| points.parquet | one row per run and step, columns as in `tasks.fit.data.points.COLUMNS`; `PointColumns` reads some |
| fits.json | `FitsFile`: every law for each variant x resource; `primary` marks the law named in params |
| lenient_fits.json | `LenientFitsFile`: the primary laws fitted to the lenient losses |
| bootstrap.parquet | `DrawColumns`: draws of the primary laws, one row per variant, resource, coefficient and draw |
| backtests.json | `BackTestsFile`: held-out error, fits to parts of the runs, saturation of k, law for unseen sizes |
| forecasts.json | `ForecastsFile`: twice the largest size, twice the resource of the largest |
| plans.json | `tasks.records.plans.PlansFile`: what a budget buys, by variant; the page computes with it |
| findings.json | `tasks.records.findings.FindingsFile`: the published claims, judged; effects of reuse and of size |
| variances.json | `tasks.records.variances.VariancesFile`: where the variance of a loss comes from |
| metrics.json | flat name -> number for `dvc metrics show` |
| manifest.json | completion marker of the stage |

Intervals are 95 % unless a field says otherwise. A number that does not exist (an interval of a coefficient without
draws, an R2 of a constant) is null. All logarithms are base 10.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tasks.records.json_files import JsonFile, ParquetFile

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Strings = npt.NDArray[np.object_]
    Ints = npt.NDArray[np.int64]
    Floats = npt.NDArray[np.float64]


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
        k_alone: learning efficiency of this size fitted alone (`loglinear`), what the law is to be compared with; null
            for a size with fewer than 3 points.
        level: E_i; null for laws without free levels.
        runs: runs of this size.
        points: points of this size.
    """

    n: float
    size: str
    k: Estimate
    k_alone: Estimate | None
    level: Estimate | None
    runs: int
    points: int


@dataclass(frozen=True)
class FitOptions:
    """How a law was fitted: the fields of `tasks.fit.solver.estimate.Options`, and the resampling that was used.

    Attributes:
        resampling_used: what `resampling` came to for each size, e.g. effects or blocks.
    """

    objective: str
    skip_steps: int
    equal_weight: bool
    draws: int
    seed: int
    resampling: str
    resampling_used: list[str]


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
        options: how it was fitted.
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
    options: FitOptions


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
        coverage: fraction of held-out points inside the 50, 80 and 95 % prediction intervals.
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
        reason: the numbers behind it.
        z: Vuong's statistic, positive where saturating fits better than power_k.
        z_without_largest: the same without the largest size; null with too few sizes, or in older files.
        power: share of simulated studies with this scatter in which a true saturation is supported; null with fewer
            than 4 sizes, or in older files.
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
    z: float | None = None
    z_without_largest: float | None = None
    power: float | None = None


@dataclass(frozen=True)
class LawChoice:
    """Held-out error of every law that can forecast an unseen size, and the law it picks.

    Attributes:
        errors: by law, RMSE in log10 loss of next_size forecasts.
        chosen: pivot, or the law of smallest error where that is at most 0.8 of pivot's.
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
class FitsFile(JsonFile):
    """fits.json."""

    NAME: ClassVar[str] = "fits.json"
    fits: list[FitRecord]


@dataclass(frozen=True)
class LenientFitsFile(JsonFile):
    """lenient_fits.json: the primary laws on lenient losses (right final answers counted wherever they stand).

    Attributes:
        fits: as in `FitsFile`.
        missing: which runs recorded no lenient loss (older versions did not), None where all did.
    """

    NAME: ClassVar[str] = "lenient_fits.json"
    fits: list[FitRecord]
    missing: str | None


@dataclass(frozen=True)
class BackTestsFile(JsonFile):
    """backtests.json."""

    NAME: ClassVar[str] = "backtests.json"
    backtests: list[BackTest]
    windows: list[WindowFit]
    saturation: list[SaturationTest]
    choice: list[LawChoice]


@dataclass(frozen=True)
class ForecastsFile(JsonFile):
    """forecasts.json."""

    NAME: ClassVar[str] = "forecasts.json"
    forecasts: list[ForecastRecord]


@dataclass(frozen=True)
class PointColumns(ParquetFile):
    """The columns of points.parquet (`tasks.fit.data.points.COLUMNS`) that the report draws, by run and step [P]."""

    NAME: ClassVar[str] = "points.parquet"
    variant: Strings
    size: Strings
    tau: Ints
    group_size: Ints
    compute: Floats
    data: Ints
    test_loss: Floats

    def resource(self, name: str) -> Floats | Ints:
        """X of each point [P]: compute, FLOPs, or data, prompts."""
        columns: dict[str, Floats | Ints] = {"compute": self.compute, "data": self.data}
        return columns[name]


@dataclass(frozen=True)
class DrawColumns(ParquetFile):
    """Columns of bootstrap.parquet [rows].

    Attributes:
        variant: as in `FitRecord`.
        resource: as in `FitRecord`.
        law: the primary law.
        name: a coefficient, `k:<size>` or `E:<size>`.
        draw: index of the draw.
        value: the value drawn.
    """

    NAME: ClassVar[str] = "bootstrap.parquet"
    variant: Strings
    resource: Strings
    law: Strings
    name: Strings
    draw: Ints
    value: Floats
