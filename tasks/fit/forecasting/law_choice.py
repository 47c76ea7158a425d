"""Which law speaks for a size that was not fitted: the one whose forecasts of larger sizes erred least."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tasks.fit.data.measurements import Measurements
from tasks.fit.forecasting.forecast import size_errors
from tasks.fit.laws import LAWS, Law, law_named
from tasks.fit.solver.estimate import Options, fit_law
from tasks.fit.uncertainty.inference import BootstrappedFit, with_draws
from tasks.records.fits import BackTest, LawChoice


def fit_for_sizes(points: Measurements, name: str | None, sizes: Iterable[float], options: Options) -> BootstrappedFit:
    """Fits the law of that name, or `default_law` for these sizes, with draws.

    Raises:
        InputError: there is no such law, or the points cannot determine it.
    """
    law = default_law(points, sizes, options) if name is None else law_named(name)
    return with_draws(fit_law(points, law, options))


def default_law(points: Measurements, sizes: Iterable[float], options: Options) -> Law:
    """`saturating` where all sizes have points, else the best for unseen sizes, `pivot` where none could be tried."""
    if all(size in points.sizes for size in sizes):
        return LAWS["saturating"]
    choice = best_for_unseen(points, options, "")
    return LAWS["pivot" if choice is None or choice.chosen is None else choice.chosen]


def best_for_unseen(points: Measurements, options: Options, variant: str) -> LawChoice | None:
    """The law with the smallest error when each larger size is forecast from the smaller ones, nothing refitted.

    Returns:
        None where there are too few sizes to try any law.
    """
    errors: dict[str, float | None] = {}
    for name, law in LAWS.items():
        if law.forecasts_unseen and len(points.sizes) > max(law.minimum_sizes, 3):
            errors[name] = _root_mean_square(size_errors(points, law, options, inner=False).larger_sizes)
    return LawChoice(variant, points.unit, errors, _smallest(errors)) if errors else None


def choose_law(tests: list[BackTest], variant: str, resource: str) -> LawChoice:
    """Picks the law for unseen sizes from back-tests: the smallest error of its next_size tests, nothing refitted."""
    errors: dict[str, float | None] = {}
    for name, law in LAWS.items():
        own = [t.rmse_log for t in tests if t.law == name and t.kind == "next_size" and not t.level_refitted]
        if law.forecasts_unseen:
            errors[name] = _root_mean_square(own) if own else None
    return LawChoice(variant, resource, errors, _smallest(errors))


def _root_mean_square(errors: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(errors))))


def _smallest(errors: dict[str, float | None]) -> str | None:
    """Name of the smallest error that is there."""
    finite = {name: error for name, error in errors.items() if error is not None}
    return min(finite, key=lambda name: finite[name]) if finite else None
