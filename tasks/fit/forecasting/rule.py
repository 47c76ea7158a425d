"""The forecast of a size nobody has trained, and of a running run: clock, law, error of the law, points, width.

1. Trained sizes are lines with a misfit that they share (`family`), on a time axis of steps (`curves`).
2. Their lines give the target's line and how wrong that may be (`line_prior`). Another run of a trained size starts
   from that size's curve, give or take what separates its runs.
3. The target's points so far, and its loss before training where it is given, update the line (`condition`). A run
   that gets worse is not forecast to recover (`collapse`).
4. The same forecast, from as much of a run, is made for trained sizes that are left out; where its errors are larger
   than it expects, all variance but white noise is multiplied by max(1, (3 + sum z^2) / (3 + n)).

Deterministic: no draws. What is missing (steps, sizes, runs) is said in `notes` and widens the forecast.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from tasks.fit.data.averaging import thinned
from tasks.fit.data.measurements import Floats, Mask, Measurements
from tasks.fit.forecasting.collapse import find_collapse
from tasks.fit.forecasting.condition import condition
from tasks.fit.forecasting.curves import Clock, Curve
from tasks.fit.forecasting.family import Family, Misfit, fit_family
from tasks.fit.forecasting.line_prior import DAMPING, LinePrior, prior_of_size
from tasks.fit.forecasting.misfit import binomial_variance
from tasks.fit.forecasting.mixture import Mixture
from tasks.fit.uncertainty.bootstrap import draw_lines

# The loss before training lies on the line at the first step, give or take this many decades of steps.
_ANCHOR_SPREAD = 0.25
_WIDTH_WEIGHT = 3
_SCORED_POINTS = 60
_LEAST_POINTS = 3
_ASSUMED_RUN_LEVEL, _ASSUMED_RUN_SLOPE = 0.05, 0.10
_LONE_SLOPE, _LONE_SLOPE_SPREAD, _LONE_LEVEL_SPREAD = -0.1, 0.2, 0.5


@dataclass(frozen=True)
class InitialLoss:
    """One evaluation before training: loss and graded answers."""

    loss: float
    answers: float


@dataclass(frozen=True)
class Target:
    """What is to be forecast.

    Attributes:
        n: its size.
        own: its points so far, of one run; None: none.
        initial: its loss before training, where it is known.
        damping: delta of `line_prior`.
    """

    n: float
    own: Measurements | None = None
    initial: InitialLoss | None = None
    damping: float = DAMPING


@dataclass(frozen=True)
class RuleForecast:
    """A forecast at Q values of X.

    Attributes:
        curve: log10 L of the run, evaluation noise apart.
        measured: log10 L of one evaluation.
        slope: log10 L per decade of the run's line.
        prior: where the line comes from, in words.
        notes: what was assumed, in sentences.
    """

    curve: Mixture
    measured: Mixture
    slope: Mixture
    prior: str
    notes: list[str] = field(default_factory=list)


def forecast_curve(others: Measurements | None, target: Target, x: Floats) -> RuleForecast:
    """Forecasts a run.

    Args:
        others: all other runs; None: there are none, and the target's own points must be given.
        target: the size and what is known of the run.
        x: log10 of the resource [Q].
    """
    own = target.own
    others, notes = _long_enough(others, target.n)
    clock = Clock.of(_known(others, own))
    family = _family(others, clock)
    prior = _prior(others, family, clock, target)
    offset, error = clock.offset_of(target.n, own)
    curve = _own_curve(clock, own, target.initial, family, prior)
    ahead = condition(family, prior, curve, x - offset)
    factor, folds = _width(others, family, target)
    scale = max(abs(float(ahead.slope.center[0])), 1e-3)
    line = ahead.curve.widened(factor).with_noise((error * scale) ** 2)
    notes += _notes(others, family, prior, target, error)
    if factor > 1.0:
        notes.append(f"intervals widened by {np.sqrt(factor):.2f}: so much too sure it was of {folds} trained run(s)")
    collapse = None if own is None else find_collapse(own, clock)
    if collapse is not None:
        line, notes = collapse.ahead(x), [collapse.note, *notes]
    trials = None if own is None or own.trials is None else float(np.median(own.trials))
    measured = line.with_noise(clock.variance(target.n, line.center, trials))
    return RuleForecast(line, measured, ahead.slope, prior.source, notes)


def _long_enough(others: Measurements | None, n: float) -> tuple[Measurements | None, list[str]]:
    """The runs of sizes whose points make a line, or of the target's size, and which sizes were left out."""
    if others is None:
        return None, []
    steps = np.array([len(np.unique(others.x[others.size == index])) for index in range(len(others.sizes))])
    kept = (steps >= _LEAST_POINTS) | (others.sizes == n)
    if kept.all():
        return others, []
    names = ", ".join(others.label(float(size)) for size in others.sizes[~kept])
    rest = others.where(kept[others.size])
    note = f"left out, with fewer than {_LEAST_POINTS} points: {names}"
    return (rest if len(rest) else None), [note]


def _known(others: Measurements | None, own: Measurements | None) -> Measurements:
    known = others if others is not None else own
    assert known is not None, "a forecast needs other runs or points of its own"
    return known


def _family(others: Measurements | None, clock: Clock, misfit: Misfit | None = None) -> Family:
    sizes = () if others is None else others.sizes
    curves = [] if others is None else [clock.curve(others.where(others.n == size)) for size in sizes]
    return fit_family(curves, clock.stepped, misfit)


def _prior(others: Measurements | None, family: Family, clock: Clock, target: Target) -> LinePrior:
    """The line of the target before its own points."""
    if others is not None and target.n in others.sizes:
        return _sibling_prior(others, family, clock, target.n)
    prior = prior_of_size(family, target.n, target.damping)
    if prior is not None:
        return prior
    assert target.own is not None
    scale = np.diag([_LONE_LEVEL_SPREAD**2, _LONE_SLOPE_SPREAD**2])
    mean = np.array([float(target.own.y.mean()), _LONE_SLOPE])
    source = "no other runs: a fall by 0.1 decades of loss per decade of X is assumed, give or take 0.2"
    return LinePrior(mean, scale, _WIDTH_WEIGHT, source)


def _sibling_prior(others: Measurements, family: Family, clock: Clock, n: float) -> LinePrior:
    """How another run of a trained size departs from that size's line, by what separates runs of one size."""
    index = int(np.searchsorted(others.sizes, n))
    lines = draw_lines(others, others.y, np.ones(len(others)), draws=2, seed=0)
    level, slope = float(lines.run_level[index]), float(lines.run_slope[index])
    runs = len(np.unique(others.run[others.size == index]))
    source = f"{runs} other run(s) of its size, and what separates runs of one size"
    dof = int(np.clip(lines.dof[index], _WIDTH_WEIGHT, 30)) if level > 0 else _WIDTH_WEIGHT
    if level <= 0:
        level = _ASSUMED_RUN_LEVEL * abs(float(family.level[index]))
        slope = _ASSUMED_RUN_SLOPE * abs(float(family.slope[index]))
        source += " (assumed: 5 % in level and 10 % in slope, as no size has two other runs)"
    distance = family.center - (float(lines.center[index]) - clock.offset_of(n, None)[0])
    cross = slope**2 * distance
    scale = np.array([[level**2 + cross * distance, cross], [cross, slope**2]]) + 1e-10 * np.eye(2)
    return LinePrior(np.zeros(2), scale, dof, source, index)


def _own_curve(
    clock: Clock, own: Measurements | None, initial: InitialLoss | None, family: Family, prior: LinePrior
) -> Curve | None:
    """The target's points, its loss before training among them; None where nothing is known."""
    curve = None if own is None or not len(own) else clock.curve(own)
    if initial is None:
        return curve
    slope = prior.mean[1] if prior.sibling is None else family.slope[prior.sibling]
    noise = float(binomial_variance(initial.loss, initial.answers)) + (_ANCHOR_SPREAD * float(slope)) ** 2
    first = Curve(0.0, np.zeros(1), np.log10([initial.loss]), np.array([noise]))
    if curve is None:
        return first
    return Curve(curve.n, *(np.append(getattr(first, name), getattr(curve, name)) for name in ("t", "y", "noise")))


def _width(others: Measurements | None, family: Family, target: Target) -> tuple[float, int]:
    """By how much the variance of the same forecast was too small on trained runs, at least 1, and on how many."""
    if others is None:
        return 1.0, 0
    own = target.own
    seen = -1.0 if own is None or not len(own) else float(own.step.max())
    squares = []
    for rest, run in _folds(others, target.n):
        part = others.where(rest)
        early = run if own is None else run.where(run.step <= seen)
        late = run.where(run.step > seen) if own is not None else run
        late = thinned(late, _SCORED_POINTS)
        if not len(late) or (own is not None and not len(early)):
            continue
        clock = Clock.of(part)
        again = Target(float(run.n[0]), early if own is not None else None, None, target.damping)
        smaller = _family(part, clock, family.misfit)
        prior = _prior(part, smaller, clock, again)
        curve = _own_curve(clock, again.own, None, smaller, prior)
        ahead = condition(smaller, prior, curve, late.x - clock.offset_of(again.n, again.own or run)[0]).curve
        variance = ahead.spread + clock.variance(again.n, ahead.center, late.trials)
        squares.append(float(np.mean((late.y - ahead.center) ** 2 / variance)))
    return max(1.0, (_WIDTH_WEIGHT + sum(squares)) / (_WIDTH_WEIGHT + len(squares))), len(squares)


def _folds(others: Measurements, n: float) -> Iterator[tuple[Mask, Measurements]]:
    """Which points remain, and the run that is left out, of every fold that asks what the target asks."""
    sizes = others.sizes
    first = [others.where(others.run == others.run[others.n == size][0]) for size in sizes]
    if n in sizes:
        for size, run in zip(sizes, first, strict=True):
            index = others.runs.index(run.runs[0])
            if len(np.unique(others.run[others.n == size])) > 1:
                yield others.run != index, run
        return
    inside = sizes[0] < n < sizes[-1] and len(sizes) > 3
    for index in range(1, len(sizes) - 1) if inside else range(3, len(sizes)):
        yield (others.n != sizes[index] if inside else others.n < sizes[index]), first[index]


def _notes(others: Measurements | None, family: Family, prior: LinePrior, target: Target, error: float) -> list[str]:
    """What was assumed."""
    notes = []
    sizes = family.sizes
    if len(sizes) >= 3 and prior.sibling is None and not sizes[0] <= target.n <= sizes[-1]:
        notes.append(f"beyond the trained sizes log N counts {target.damping:g} (--damping)")
    if not family.stepped:
        notes.append("the points have no steps: no common clock, times are counted from each size's first X")
    elif len(sizes) < 3:
        notes.append(f"{len(sizes)} other size(s): no common clock (it takes three), straight lines that may bend")
    if others is not None and target.own is None and family.stepped and error > 0.002:
        notes.append(
            f"{others.unit} is taken per step as in the other sizes, give or take {100 * (10**error - 1):.0f} %; "
            "one step of this size would tell"
        )
    notes.append(
        "of how initial models differ the intervals hold what the runs of the file show, nothing where a size has one"
    )
    return notes
