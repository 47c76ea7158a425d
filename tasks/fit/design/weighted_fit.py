"""The pivot law fitted to lines of sizes, each weighted by what its runs carry and by how sizes scatter.

A size's (m, k) is the generalized least squares line through all its runs, with information F; the law is the posterior
mode of theta = (ln Kmax, ln N0, a, b) given these lines, whose covariance about the law is F^-1 + effects. Plain least
squares counts points instead: a long run of a size that deviates from the law then outweighs several short ones.
Gauss-Newton from the plain fit, which is also the mean of the weak prior.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.fit.data.measurements import Floats, Measurements
from tasks.fit.design.information import MOST_POINTS, PRIOR_SPREAD, LineModel, PivotCoefficients, deviating
from tasks.fit.forecasting.misfit import noise_factor
from tasks.fit.laws import LAWS
from tasks.fit.solver.estimate import Options, fit_law
from tasks.study.errors import InputError

_ITERATIONS = 30


@dataclass(frozen=True)
class SizeLine:
    """What the runs of a size say: `line` is (m, k) [2], `information` F of it [2, 2], singular where too few."""

    information: Floats
    line: Floats


def size_line(points: Measurements, model: LineModel) -> SizeLine:
    """What the points of one size say about its (m, k), run by run, with the covariances of `model`.

    Of runs with more than `MOST_POINTS` points, means of neighbors enter, each for as many evaluations.
    """
    information, moment = np.zeros((2, 2)), np.zeros(2)
    for index in range(len(points.runs)):
        own = np.flatnonzero(points.run == index)
        own = own[np.argsort(points.step[own], kind="stable")]
        trials = np.ones(len(own)) if points.trials is None else points.trials[own] / np.median(points.trials)
        parts = np.array_split(np.arange(len(own)), min(len(own), MOST_POINTS))
        step, x, y = (
            np.array([column[own][part].mean() for part in parts]) for column in (points.step, points.x, points.y)
        )
        design = model.design(x)
        covariance = model.covariance(step, x, [trials[part].sum() for part in parts])
        weighted = np.linalg.solve(covariance, design)
        information, moment = information + weighted.T @ design, moment + weighted.T @ y
    return SizeLine(information, np.linalg.pinv(information) @ moment)


@dataclass(frozen=True)
class Pilot:
    """What is known of a study's kind before it: a law to start from, where levels are compared, and the noise.

    Attributes:
        law: start of the fit, and the mean of its weak prior.
        center: log10 X at which levels of sizes are compared.
        noise: white variance of a measured log10 L over that of one answer; short runs do not tell it themselves.
    """

    law: PivotCoefficients
    center: float
    noise: float

    @classmethod
    def of(cls, points: Measurements) -> Pilot:
        """From the points themselves: plain least squares, the middle of their range, their first differences.

        Raises:
            InputError: fewer than three sizes, or losses that do not fall.
        """
        center = float(points.x.min() + points.x.max()) / 2.0
        trials = 1.0 if points.trials is None else float(np.median(points.trials))
        return cls(_plain(points), center, noise_factor(points) / trials)


def fit_pivot(points: Measurements, pilot: Pilot) -> PivotCoefficients:
    """Fits the law to all points, of at least three sizes."""
    mean = _theta(pilot.law)
    prior, theta = np.diag(np.power(PRIOR_SPREAD, -2.0)), mean
    for _ in range(_ITERATIONS):
        information, moment = prior, prior @ (mean - theta)
        for n in points.sizes:
            # The step's own resource only matters for runs that are not there yet.
            model = _coefficients(theta).line(float(n), 0.0, pilot.center, pilot.noise)
            known = size_line(points.where(points.n == n), model)
            weight = deviating(known.information, model.effects)
            information = information + model.gradient.T @ weight @ model.gradient
            moment = moment + model.gradient.T @ weight @ (known.line - [model.level, model.slope])
        change = np.linalg.solve(information, moment)
        theta = theta + change / max(1.0, float(np.abs(change).max()))
        if np.abs(change).max() < 1e-6:
            break
    return _coefficients(theta)


def _plain(points: Measurements) -> PivotCoefficients:
    """The law by least squares over all points."""
    law = LAWS["pivot"]
    if len(points.sizes) < law.minimum_sizes:
        raise InputError(f"{len(points.sizes)} sizes, the law behind a design needs at least {law.minimum_sizes}")
    found = {name: float(value) for name, value in fit_law(points, law, Options()).parameters.coefficients().items()}
    if not found["Kmax"] > 0:
        raise InputError("losses do not fall with the resource, so that no design can be made")
    return PivotCoefficients(found["Kmax"], found["N0"], found["a"], found["b"])


def _theta(law: PivotCoefficients) -> Floats:
    return np.array([np.log(law.kmax), np.log(law.n0), law.a, law.b])


def _coefficients(theta: Floats) -> PivotCoefficients:
    return PivotCoefficients(float(np.exp(theta[0])), float(np.exp(theta[1])), float(theta[2]), float(theta[3]))
