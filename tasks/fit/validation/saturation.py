"""Does k(N) grow, and does its growth saturate?

Growth: `saturating` against constant k, by the likelihood ratio in units of a dispersion that knows about runs, and the
largest against the smallest size, each alone. It is said of these sizes: their scatter about a law is no doubt of it.
Saturation: `saturating` against `power_k`, which have equally many parameters and are not nested: Vuong's test on the
log-likelihood difference of each run, and the error of forecasting the next larger size's slope. A verdict needs both
to agree; otherwise it is undecided. Beside it stand the share of studies like this one in which a true saturation would
be supported, and Vuong's z without the largest size: one size alone should not carry a verdict.
"""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Floats
from tasks.fit.laws import LAWS
from tasks.fit.solver.estimate import FitResult, fit_law
from tasks.fit.uncertainty.inference import BootstrappedFit, with_draws
from tasks.fit.uncertainty.student_t import two_sided_p
from tasks.fit.validation.saturation_power import chance_of_support, vuong_z
from tasks.records.fits import Estimate, SaturationTest

SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "contradicted", "undecided"


def saturation_test(saturating: BootstrappedFit, profile: dict[str, Estimate], variant: str) -> SaturationTest:
    """Runs both tests on the points of a saturating fit.

    Args:
        saturating: the fit with its draws.
        profile: its profile intervals.
        variant: goes into the record.
    """
    result = saturating.result
    points, options = result.points, result.options
    flat, power = (fit_law(points, LAWS[name], options) for name in ("constant", "power_k"))
    per_size = with_draws(fit_law(points, LAWS["loglinear"], options))
    dispersion, dof = _dispersion(saturating, per_size), float(np.min(saturating.lines.dof))
    ratio = max(_weighted_rss(flat, result) - _weighted_rss(result), 0.0) / dispersion
    growth_p = two_sided_p(float(np.sqrt(ratio)), dof)
    difference = _by_run(power, result) - _by_run(result, result)
    z = float(vuong_z(difference))
    rival_p = two_sided_p(z, max(len(difference) - 1.0, 1.0))
    held_out = {name: _slope_error(result, name) for name in ("saturating", "power_k", "constant")}
    ends = per_size.draws.k(points.sizes[[0, -1]])
    gain = np.quantile(ends[:, 1] - ends[:, 0], [0.025, 0.975])
    growth = SUPPORTED if gain[0] > 0 and growth_p < 0.05 else CONTRADICTED if gain[1] < 0 else UNDECIDED
    verdict, reason = _verdict(z, rival_p, held_out, profile, growth)
    without = _z_without_largest(result)
    chance = chance_of_support(saturating, (dispersion, dof), _dispersion(saturating, saturating))
    return SaturationTest(
        variant=variant,
        resource=points.unit,
        growth_lr=ratio,
        growth_p=growth_p,
        rival_lr=float(difference.sum()) / (2.0 * dispersion),
        rival_p=rival_p,
        held_out=held_out,
        growth=growth,
        verdict=verdict,
        reason=f"{reason}; {_beside(without, chance)}",
        z=z,
        z_without_largest=without,
        power=chance,
    )


def _dispersion(saturating: BootstrappedFit, slopes: BootstrappedFit) -> float:
    """Variance of a point's working residual, times what the slopes of a fit's draws vary by beyond it."""
    result = saturating.result
    spare = max(len(result.points) - result.law.parameters(len(result.points.sizes)), 1)
    variance = _weighted_rss(result) / spare
    # Points without any scatter about the law would make every ratio infinite.
    return max(variance * _slope_effect(slopes, variance), 1e-24)


def _z_without_largest(result: FitResult) -> float | None:
    """Vuong's z on the sizes but the largest; None where fewer than 3 are left."""
    points = result.points.where(result.points.n < result.points.sizes[-1])
    if len(points.sizes) < 3:
        return None
    ours, rival = (fit_law(points, LAWS[name], result.options) for name in ("saturating", "power_k"))
    return float(vuong_z(_by_run(rival, ours) - _by_run(ours, ours)))


def _beside(without: float | None, chance: float | None) -> str:
    """What a reader must know about the verdict's strength."""
    largest = (
        "too few sizes to leave the largest out" if without is None else f"z without the largest size {without:.2f}"
    )
    if chance is None:
        return largest
    return f"{largest}; with this scatter a true saturation would be supported in {chance:.0%} of studies"


def _weighted_rss(result: FitResult, weights_of: FitResult | None = None) -> float:
    return float(_by_run(result, weights_of or result).sum())


def _by_run(result: FitResult, weights_of: FitResult) -> Floats:
    """Weighted residual sum of squares of each run, with another fit's weights and response, so that laws compare."""
    squares = weights_of.weight * (weights_of.response - result.eta) ** 2
    return np.bincount(result.points.run, weights=squares, minlength=len(result.points.runs)).astype(float)


def _slope_effect(fit: BootstrappedFit, variance: float) -> float:
    """Variance of the sizes' slopes among draws over what independent points would give, averaged, at least 1."""
    lines = fit.result.lines
    assert lines is not None
    ratio = fit.lines.slope.var(axis=0) * lines.cxx / max(variance, 1e-300)
    return max(float(ratio.mean()), 1.0)


def _slope_error(result: FitResult, name: str) -> float | None:
    """Root mean square error in log10 k of forecasting each larger size's slope from the smaller sizes."""
    points, law, errors = result.points, LAWS[name], []
    per_size = fit_law(points, LAWS["loglinear"], result.options).parameters.k(points.sizes)
    for index in range(3, len(points.sizes)):
        smaller = points.where(points.n < points.sizes[index])
        forecast = float(fit_law(smaller, law, result.options).parameters.k([points.sizes[index]])[0])
        if forecast > 0 and per_size[index] > 0:
            errors.append(np.log10(forecast / per_size[index]))
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else None


def _verdict(
    z: float, rival_p: float, held_out: dict[str, float | None], profile: dict[str, Estimate], growth: str
) -> tuple[str, str]:
    """Verdict on saturation and the sentence that explains it."""
    ours, rival = held_out["saturating"], held_out["power_k"]
    bounded = "N0" in profile and profile["N0"].high is not None
    errors = "held-out slope error unknown"
    if ours is not None and rival is not None:
        errors = f"next-size slope error {ours:.3f} saturating, {rival:.3f} power_k (log10 k)"
    open_end = "" if bounded else "not "
    reason = f"saturating against power_k: z = {z:.2f}, p = {rival_p:.3f}; {errors}; N0 {open_end}bounded from above"
    if growth != SUPPORTED:
        return UNDECIDED, f"k is not shown to grow, so saturation cannot be judged; {reason}"
    better = ours is not None and rival is not None and ours < rival
    if z > 0 and rival_p < 0.05 and better and bounded:
        return SUPPORTED, reason
    if z < 0 and rival_p < 0.05 and not better:
        return CONTRADICTED, reason
    return UNDECIDED, reason
