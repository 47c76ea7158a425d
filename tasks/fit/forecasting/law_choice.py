"""Which law speaks when none is named: the default one, unless held-out error supports another by a stated margin.

Two questions, each with the error that answers it. For sizes that have points: the later part of every trajectory
from the earlier one (cut at 50 and at 75 % of the steps). For sizes without: each larger size from the smaller ones.
Past errors choose unreliably among many laws, so a law must beat the default by `MARGIN` to take its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.fit.data.averaging import averaged
from tasks.fit.data.measurements import Measurements
from tasks.fit.forecasting.forecast import run_fraction
from tasks.fit.laws import LAWS, SIZE_LAWS, Law, law_named
from tasks.fit.solver.estimate import Options, fit_law
from tasks.records.fits import BackTest, LawChoice
from tasks.study.errors import InputError

# A law takes the default's place where its held-out error is at most this share of the default's.
MARGIN = 0.8
SEEN_DEFAULT, UNSEEN_DEFAULT = "saturating", "pivot"
_CUTS = (0.5, 0.75)
_FEWEST = 5


@dataclass(frozen=True)
class PickedLaw:
    """A law and the sentence that says why it was taken."""

    law: Law
    reason: str


def pick_law(points: Measurements, name: str | None, sizes: Iterable[float], options: Options) -> PickedLaw:
    """The law of that name, or the one that held-out error supports for these sizes.

    Raises:
        InputError: there is no law of that name.
    """
    if name is not None:
        return PickedLaw(law_named(name), f"law {name}, as asked for")
    seen = all(size in points.sizes for size in sizes)
    default, what = (SEEN_DEFAULT, "later steps") if seen else (UNSEEN_DEFAULT, "larger sizes")
    errors = later_errors(points, options) if seen else unseen_errors(points, options)
    chosen = supported(errors, default)
    if chosen is None:
        return PickedLaw(LAWS[default], f"law {default} by default: too few points to try laws on {what}")
    error = _text(errors[chosen])
    if chosen == default:
        reason = f"no law errs less by {1 - MARGIN:.0%} on held-out {what} (log10 L: {default} {error})"
        return PickedLaw(LAWS[default], f"law {default}: {reason}")
    beaten = "cannot be fitted there" if errors.get(default) is None else _text(errors[default])
    return PickedLaw(
        LAWS[chosen], f"law {chosen}: smallest error on held-out {what} (log10 L: {chosen} {error}, {default} {beaten})"
    )


def later_errors(points: Measurements, options: Options) -> dict[str, float | None]:
    """Root mean square error in log10 L of every law on the later steps of all trajectories, from the earlier ones.

    Returns:
        By law, None where it cannot be fitted; empty where some size keeps fewer than 5 points before a cut.
    """
    fraction = run_fraction(points)
    cuts = [fraction <= cut for cut in _CUTS]
    if any(np.bincount(points.size[early], minlength=len(points.sizes)).min() < _FEWEST for early in cuts):
        return {}
    parts = [(averaged(points.where(early)), averaged(points.where(~early))) for early in cuts]
    return {name: _held_out(parts, LAWS[name], options) for name in SIZE_LAWS}


def _held_out(parts: Sequence[tuple[Measurements, Measurements]], law: Law, options: Options) -> float | None:
    """Root mean square of a law's errors over pairs of points to fit and points to forecast; None: too few to fit."""
    try:
        return _root_mean_square([_error(train, test, law, options) for train, test in parts])
    except InputError:
        return None


def _error(train: Measurements, test: Measurements, law: Law, options: Options) -> float:
    """Root mean square error in log10 L of a law on points that it was not fitted to."""
    error = fit_law(train, law, options).parameters.predict(test.n, test.x) - test.y
    return float(np.sqrt(np.average(error**2, weights=test.count)))


def unseen_errors(points: Measurements, options: Options) -> dict[str, float | None]:
    """Root mean square error in log10 L of each larger size forecast from the smaller ones, by law; empty: too few."""
    points = averaged(points)
    sizes, errors = points.sizes, dict[str, float | None]()
    for name, law in LAWS.items():
        start = max(law.minimum_sizes, 3)
        if law.forecasts_unseen and len(sizes) > start:
            cuts = [(points.where(points.n < size), points.where(points.n == size)) for size in sizes[start:]]
            errors[name] = _held_out(cuts, law, options)
    return errors


def best_for_unseen(points: Measurements, options: Options, variant: str) -> LawChoice | None:
    """The law that `unseen_errors` support.

    Returns:
        None where there are too few sizes to try any law.
    """
    errors = unseen_errors(points, options)
    return LawChoice(variant, points.unit, errors, supported(errors, UNSEEN_DEFAULT)) if errors else None


def choose_law(tests: list[BackTest], variant: str, resource: str) -> LawChoice:
    """Picks the law for unseen sizes from back-tests: the errors of its next_size tests, nothing refitted."""
    errors: dict[str, float | None] = {}
    for name, law in LAWS.items():
        own = [t.rmse_log for t in tests if t.law == name and t.kind == "next_size" and not t.level_refitted]
        if law.forecasts_unseen:
            errors[name] = _root_mean_square(own) if own else None
    return LawChoice(variant, resource, errors, supported(errors, UNSEEN_DEFAULT))


def supported(errors: dict[str, float | None], default: str) -> str | None:
    """The default law, or the one of smallest error where that is at most `MARGIN` of the default's; None: no error."""
    finite = {name: error for name, error in errors.items() if error is not None}
    if not finite:
        return None
    best = min(finite, key=lambda name: finite[name])
    return default if default in finite and finite[best] > MARGIN * finite[default] else best


def _root_mean_square(errors: Sequence[float] | np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


def _text(error: float | None) -> str:
    return "unknown" if error is None else f"{error:.3g}"
