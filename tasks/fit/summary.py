"""What `rlscale fit FILE` says about one group of points: the law, its rivals, its held-out error."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tasks.fit.analysis import analyze_primary
from tasks.fit.data.measurements import Measurements
from tasks.fit.forecasting.law_choice import later_errors
from tasks.fit.laws import LAWS, SIZE_LAWS
from tasks.fit.solver.estimate import Options, fit_law
from tasks.fit.validation.backtest import held_out_largest, later_step_tests
from tasks.fit.validation.flags import rejection_of
from tasks.fit.validation.goodness_of_fit import quality
from tasks.records.fits import BackTest, FitRecord, LawChoice, SaturationTest, WindowFit
from tasks.records.published import FITS, FITS_WITHOUT_72B, SIZES, UNITS, PublishedFit
from tasks.study.errors import InputError


@dataclass(frozen=True)
class LawComparison:
    """A law beside the primary one: criteria on all points, comparable where the objective is the same.

    `later_error` is its error in log10 L on later steps, held out (`law_choice.later_errors`); None where unknown.
    """

    law: str
    equation: str
    parameters: int
    r2_linear: float | None
    rmse_log: float
    aicc: float | None
    bic: float | None
    later_error: float | None


@dataclass(frozen=True)
class PublishedComparison:
    """Ours against published, with the published objective (squared error in linear loss)."""

    sizes: str
    kmax: float
    kmax_published: float
    n0: float
    n0_published: float
    r2: float | None
    r2_published: float | None


@dataclass(frozen=True)
class Summary:
    """Everything that is printed about a group.

    Attributes:
        group: its name.
        fit: the primary law.
        rivals: criteria of all laws, the primary included.
        saturation: growth and saturation of k.
        choice: the law for unseen sizes, picked without the largest size; None with too few sizes.
        held_out: that law's forecast of the largest size, nothing refitted.
        ahead: the primary law's forecasts of the last half and three quarters of every trajectory.
        windows: the primary law fitted to parts of every trajectory.
        published: comparisons, where the points are the published study's.
    """

    group: str
    fit: FitRecord
    rivals: list[LawComparison]
    saturation: SaturationTest | None
    choice: LawChoice | None
    held_out: BackTest | None
    ahead: list[BackTest]
    windows: list[WindowFit]
    published: list[PublishedComparison]


def summarize(points: Measurements, group: str, law: str, options: Options) -> Summary:
    """Fits and compares.

    Raises:
        InputError: the law does not exist or needs more sizes or points.
    """
    first = analyze_primary(points, group, law, options)
    fitted = first.primary.result
    choice, held_out = held_out_largest(fitted.points, options, group)
    later = later_errors(fitted.points, options)
    rivals = _rivals(points, options, later)
    rejected = rejection_of(law, later, {rival.law: (rival.rmse_log, rival.aicc) for rival in rivals})
    return Summary(
        group,
        first.record if rejected is None else replace(first.record, flags=[rejected, *first.record.flags]),
        rivals,
        first.saturation,
        choice,
        held_out,
        later_step_tests(fitted.points, fitted.law, options, group),
        first.windows,
        _comparisons(points, group, options),
    )


def _rivals(points: Measurements, options: Options, later: dict[str, float | None]) -> list[LawComparison]:
    """Criteria of every law that these points determine, smallest AICc first."""
    out = []
    for name in SIZE_LAWS:
        law = LAWS[name]
        try:
            result = fit_law(points, law, options)
        except InputError:
            # A law that these points cannot determine is no rival; the primary law's own error was raised before.
            continue
        scores = quality(result)
        criteria = (scores.r2_linear, scores.rmse_log, scores.aicc, scores.bic)
        out.append(
            LawComparison(name, law.equation, law.parameters(len(points.sizes)), *criteria, later_error=later.get(name))
        )
    return sorted(out, key=lambda rival: rival.aicc if rival.aicc is not None else np.inf)


def _comparisons(points: Measurements, group: str, options: Options) -> list[PublishedComparison]:
    """The published law fitted with the published objective, beside the published coefficients."""
    out = []
    linear = replace(options, objective="linear", skip_steps=0, equal_weight=False)
    for reference in published_fit(points, group) or ():
        if reference is None:
            continue
        result = fit_law(points.where(points.n <= reference.largest), LAWS["saturating"], linear)
        named = result.parameters.coefficients()
        names = f"{points.label(points.sizes[0])} to {points.label(reference.largest)}"
        r2 = quality(result).r2_linear
        out.append(
            PublishedComparison(
                names, float(named["Kmax"]), reference.kmax, float(named["N0"]), reference.n0, r2, reference.r2
            )
        )
    return out


def published_fit(points: Measurements, variant: str) -> tuple[PublishedFit, PublishedFit | None] | None:
    """The published fits of these points, or None where they are not the published study's sizes and resource.

    Returns:
        The fit on all sizes, and the one without 72B where it is known.
    """
    key = (variant, UNITS.get(points.unit, points.unit))
    if key not in FITS or tuple(points.sizes) != SIZES:
        return None
    return FITS[key], FITS_WITHOUT_72B.get(key)
