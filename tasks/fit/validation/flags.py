"""Warnings beside a fit's numbers: what a reader must know before using them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.fit.data.measurements import Measurements
from tasks.fit.forecasting.forecast import run_fraction
from tasks.fit.forecasting.law_choice import MARGIN
from tasks.fit.laws.forms import CurveLaw
from tasks.fit.solver.line_statistics import line_statistics
from tasks.fit.uncertainty.inference import BootstrappedFit
from tasks.records.fits import Estimate, Flag

# A law is rejected on the points it was fitted to where another leaves at most this share of its residual and the
# other's AICc is lower by AICC_MARGIN.
RESIDUAL_MARGIN, AICC_MARGIN = 0.7, 10.0
_LATE, _CERTAIN = 0.75, 3.0


def flags_of(fit: BootstrappedFit, profile: dict[str, Estimate], per_size: BootstrappedFit | None) -> list[Flag]:
    """The warnings about one law.

    Args:
        fit: the law.
        profile: its profile intervals.
        per_size: every size with at least 3 points fitted alone; None without such a size.
    """
    result = fit.result
    points, flags = result.points, []
    if result.at_bound:
        flags.append(Flag("at_bound", "the non-linear parameter lies at an end of its search range"))
    flags += _of_n0(fit, profile)
    if len(points.sizes) < 4:
        flags.append(Flag("few_sizes", f"only {len(points.sizes)} sizes; a law of size wants at least 4"))
    if exact := _exact(fit):
        text = f"{result.law.name} has as many parameters as points at size {exact}; it passes through them by itself"
        flags.append(Flag("exact_fit", text))
    flags += _of_runs(fit)
    if per_size is not None:
        flags += _of_learning(fit, per_size)
    flags += _of_scatter(fit)
    if (result.eta > np.log10(1.02)).any():
        flags.append(Flag("loss_above_one", "the fitted loss exceeds 1 by more than 2 % somewhere within the data"))
    return flags


def _exact(fit: BootstrappedFit) -> str:
    """Names of the sizes whose points do not outnumber a law's parameters; empty where all do."""
    points, law = fit.result.points, fit.result.law
    per_size = isinstance(law, CurveLaw) and law.per_size
    counts = np.bincount(points.size) if per_size else np.full(len(points.sizes), len(points))
    parameters = law.parameters(1) if per_size else law.parameters(len(points.sizes))
    return _labels(points, counts <= parameters)


def _of_runs(fit: BootstrappedFit) -> list[Flag]:
    """Whether sizes have several runs that carry lines of their own, by how their draws were made."""
    points, method = fit.result.points, fit.lines.method
    borrowed = method.count("effects of other sizes")
    if borrowed:
        text = f"{borrowed} of {len(method)} sizes have one run; they borrow the others' run-to-run variation"
        return [Flag("some_single_runs", text)]
    if "blocks" not in method:
        return []
    single = len(points.runs) == len(points.sizes)
    what = "one run per size" if single else "no size has two runs with a line of their own"
    text = f"{what}: intervals come from blocks of each run and hold no run-to-run variation"
    return [Flag("one_run_per_size", text)]


def _of_learning(fit: BootstrappedFit, per_size: BootstrappedFit) -> list[Flag]:
    """Sizes whose loss does not fall, by their own lines, and a law that says so of sizes whose loss does."""
    points, flags = per_size.result.points, []
    alone = per_size.result.parameters.k(points.sizes)
    highest = np.quantile(per_size.draws.k(points.sizes), 0.975, axis=0)
    rising = (highest < 0) & (alone < 0)
    flat = (alone <= 0) & ~rising
    if rising.any():
        text = f"loss rises with {points.unit} at size {_labels(points, rising)} (k alone is negative beyond its "
        flags.append(Flag("rising_loss", f"{text}95 % interval); a law of falling loss does not hold there"))
    if flat.any():
        text = f"loss does not fall with {points.unit} at size {_labels(points, flat)}, by its own line"
        flags.append(Flag("no_learning", text))
    late = _rise_late(points) & ~rising
    if late.any():
        text = f"loss rises over the last quarter of a run at size {_labels(points, late)}; one line cannot describe it"
        flags.append(Flag("rises_late", text))
    wrong = (fit.result.parameters.k(points.sizes) <= 0) & (alone > 0)
    if wrong.any():
        text = f"the law gives k <= 0 at size {_labels(points, wrong)}, where loss falls; it does not describe these"
        flags.append(Flag("law_contradicts_k", f"{text} points"))
    return flags


def _rise_late(points: Measurements) -> np.ndarray:
    """Sizes with a run whose loss rises over its last quarter by more than three standard errors [S]."""
    late = points.where(run_fraction(points) > _LATE)
    lines = line_statistics(late.x, late.y, np.ones(len(late)), late.run, len(late.runs))
    spare = np.maximum(lines.n - 2, 1)
    variance = np.maximum(lines.cyy - lines.slope * lines.cxy, 0.0) / spare
    error = np.sqrt(np.divide(variance, lines.cxx, out=np.full(len(spare), np.inf), where=lines.cxx > 0))
    rises = (lines.n > 3) & (lines.slope > _CERTAIN * error) & (lines.slope > 0)
    return np.isin(points.sizes, late.n[rises[late.run]])


def _labels(points: Measurements, chosen: np.ndarray) -> str:
    return ", ".join(points.label(size) for size in points.sizes[chosen])


def _of_scatter(fit: BootstrappedFit) -> list[Flag]:
    """How far sizes lie from the law beyond their noise, where they do."""
    points, lines = fit.result.points, fit.lines
    k = np.abs(fit.result.parameters.k(points.sizes))
    share = float(np.median(np.divide(lines.size_slope, k, out=np.zeros(len(k)), where=k > 0)))
    level = float(np.median(lines.size_level))
    parts = [f"{share:.0%} in k"] if share >= 0.005 else []
    parts += [f"{100 * (10.0**level - 1):.1f} % in loss"] if level >= 0.001 else []
    if not parts:
        return []
    text = f"sizes scatter about the law by {' and '.join(parts)}, beyond what their noise explains; intervals hold it"
    return [Flag("size_scatter", text)]


def _of_n0(fit: BootstrappedFit, profile: dict[str, Estimate]) -> list[Flag]:
    """Whether the data bound N0 at all, and how Kmax and N0 are correlated."""
    result, draws = fit.result, fit.draws.coefficients()
    if "N0" not in draws or "Kmax" not in draws:
        return []
    flags, sizes = [], result.points.sizes
    n0 = float(result.parameters.coefficients()["N0"])
    ends = profile.get("N0")
    sides = [] if ends is None else [s for s, end in (("below", ends.low), ("above", ends.high)) if end is None]
    if sides or not sizes[0] / 10 <= n0 <= sizes[-1] * 10:
        reason = "it lies more than 10 times outside the fitted sizes"
        if sides:
            reason = f"its profile interval is open {' and '.join(sides)}"
        text = f"N0 = {n0:.3g} is not identified: {reason}; use k(N) inside the data only"
        flags.append(Flag("n0_unidentified", text))
    with np.errstate(divide="ignore", invalid="ignore"):
        pairs = np.log(np.stack([draws["Kmax"], draws["N0"]]))
    pairs = pairs[:, np.isfinite(pairs).all(0)]
    if pairs.shape[1] > 10 and (pairs.std(1) > 0).all():
        rho = float(np.corrcoef(pairs)[0, 1])
        if rho > 0.9:
            flags.append(Flag("ridge", f"Kmax and N0 trade off against each other (correlation {rho:.2f} in log)"))
    return flags


def initial_models_flag(models: Sequence[int]) -> Flag | None:
    """What intervals hold of the variation of initial models, by how many of them every size has; None: all of it."""
    single = sum(count == 1 for count in models)
    if not single:
        return None
    which = "every size has" if single == len(models) else f"{single} of {len(models)} sizes have"
    text = (
        f"{which} one initial model: intervals hold what runs from it do, not what another such model would have done"
    )
    return Flag("one_initial_model", text)


def rejection_of(
    law: str, later: dict[str, float | None], criteria: dict[str, tuple[float, float | None]]
) -> Flag | None:
    """A sentence where the points reject a law, by a stated margin; None where they do not.

    Args:
        law: the law.
        later: held-out error of the laws on later steps (`law_choice.later_errors`); may be empty.
        criteria: root mean square residual in log10 L and AICc of every law on the points it was fitted to.
    """
    known = {name: error for name, error in later.items() if error is not None}
    if law in known:
        best = min(known, key=lambda name: known[name])
        if known[best] <= MARGIN * known[law]:
            text = f"the points reject {law}: on later steps, held out, it errs by {known[law]:.3g} in log10 L, {best} "
            return Flag("rejected", f"{text}by {known[best]:.3g} (rejected from {1 - MARGIN:.0%} less)")
    rmse, aicc = criteria[law]
    if aicc is None:
        return None
    rivals = {n: v for n, v in criteria.items() if v[1] is not None and aicc - v[1] >= AICC_MARGIN}
    if not rivals:
        return None
    best = min(rivals, key=lambda name: rivals[name][0])
    if rivals[best][0] > RESIDUAL_MARGIN * rmse:
        return None
    text = f"the points reject {law}: {best} leaves residuals of {rivals[best][0]:.3g} instead of {rmse:.3g} in log10 L"
    lower = f"and its AICc is lower by {aicc - (rivals[best][1] or 0.0):.0f}"
    margins = f"rejected from {1 - RESIDUAL_MARGIN:.0%} smaller residuals and {AICC_MARGIN:.0f} in AICc"
    return Flag("rejected", f"{text}, {lower} ({margins})")
