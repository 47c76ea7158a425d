"""The four published claims (arXiv 2509.25300), each judged on the points at hand: effect, interval, verdict, rule.

`supported` and `contradicted` need an interval that excludes the opposite; everything else is `undecided`.
"""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Floats
from tasks.fit.forecasting.forecast import run_fraction
from tasks.fit.solver.estimate import FitResult
from tasks.fit.uncertainty.inference import BootstrappedFit
from tasks.fit.validation.goodness_of_fit import r_squared
from tasks.fit.validation.saturation import CONTRADICTED, SUPPORTED, UNDECIDED
from tasks.records.findings import Finding, PairEffect, ReuseEffect
from tasks.records.fits import Estimate, SaturationTest
from tasks.records.published import HARMLESS

R2_GOOD, R2_BAD = 0.95, 0.90


def pair_effects(per_size: BootstrappedFit, variant: str) -> list[PairEffect]:
    """Neighbouring sizes at the largest X both have reached, from each size's own line.

    Args:
        per_size: the loglinear fit with draws.
        variant: goes into the records.
    """
    return [
        PairEffect(variant, per_size.result.points.unit, *names, x, effect) for names, x, effect, _ in _pairs(per_size)
    ]


def _pairs(per_size: BootstrappedFit) -> list[tuple[tuple[str, str], float, Estimate, Floats]]:
    points, out = per_size.result.points, []
    for index in range(len(points.sizes) - 1):
        pair = points.sizes[index : index + 2]
        ends = [points.x[points.n == size] for size in pair]
        x = min(end.max() for end in ends)
        if x < max(end.min() for end in ends):
            continue
        value = np.diff(per_size.result.parameters.predict(pair, [x, x]))[0]
        draws = np.diff(per_size.draws.predict(pair, [x, x]), axis=1)[:, 0]
        low, high = np.quantile(draws, [0.025, 0.975])
        names = (points.label(pair[0]), points.label(pair[1]))
        out.append((names, float(10.0**x), Estimate(float(value), float(low), float(high)), draws))
    return out


def larger_is_better(per_size: BootstrappedFit, variant: str) -> Finding:
    """Claim 1: at a fixed resource the larger of two neighbouring sizes has the lower loss."""
    unit = per_size.result.points.unit
    statement = f"At a fixed amount of {unit}, larger models reach lower loss"
    pairs = _pairs(per_size)
    key = f"larger_better_{unit}"
    if not pairs:
        reason = "no two neighbouring sizes share a range of the resource"
        return Finding(1, key, statement, variant, unit, Estimate(None), "log10 L per size step", UNDECIDED, reason)
    mean = np.mean([draws for *_, draws in pairs], axis=0)
    low, high = np.quantile(mean, [0.025, 0.975])
    effect = Estimate(float(np.mean([e.value for _, _, e, _ in pairs])), float(low), float(high))
    better = sum(e.high < 0 for _, _, e, _ in pairs if e.high is not None)
    worse = [names for names, _, e, _ in pairs if e.low is not None and e.low > 0]
    verdict = SUPPORTED if high < 0 and not worse else CONTRADICTED if low > 0 else UNDECIDED
    reason = f"{better} of {len(pairs)} neighbouring pairs are better with the larger size beyond their 95 % interval"
    reason += f", worse for {', '.join(f'{a} -> {b}' for a, b in worse)}" if worse else ", none is worse"
    return Finding(1, key, statement, variant, unit, effect, "log10 L per size step", verdict, reason)


def law_holds(primary: BootstrappedFit, per_size: BootstrappedFit, variant: str) -> Finding:
    """Claim 2: the law describes the points. R2 in linear loss, as published, with an interval over runs.

    The law has k > 0: points on which a size's own k lies below 0 contradict it, however well lines fit them.
    """
    result = primary.result
    points = result.points
    draws = _r2_draws(result, len(primary.lines.level))
    low, high = np.quantile(draws, [0.025, 0.975])
    effect = Estimate(r_squared(points.loss, 10.0**result.eta), float(low), float(high))
    verdict = SUPPORTED if low >= R2_GOOD else CONTRADICTED if high < R2_BAD else UNDECIDED
    means = np.bincount(points.size, weights=points.y) / np.bincount(points.size)
    within = 1.0 - float((result.residual**2).sum()) / float(((points.y - means[points.size]) ** 2).sum())
    highest = np.quantile(per_size.draws.k(points.sizes), 0.975, axis=0)
    falling = [points.label(size) for size, high in zip(points.sizes, highest, strict=True) if high < 0]
    if falling:
        verdict = CONTRADICTED
    reason = f"k is negative, loss rises with {points.unit}, at {', '.join(falling)}; " if falling else ""
    reason += (
        f"supported from R2 >= {R2_GOOD}, contradicted below {R2_BAD}; levels differ between sizes, so R2 flatters: "
        f"within sizes the law explains {100 * within:.0f} % of the variance of log L"
    )
    statement = f"{result.law.equation} describes loss against {points.unit}"
    return Finding(2, f"law_{points.unit}", statement, variant, points.unit, effect, "R2", verdict, reason)


def _r2_draws(result: FitResult, draws: int) -> Floats:
    """R2 over resampled runs within each size; runs of a size alone are cut into tenths."""
    points = result.points
    runs = np.array([len(np.unique(points.run[points.size == index])) for index in range(len(points.sizes))])
    tenth = np.where(runs[points.size] > 1, 0, np.minimum((run_fraction(points) * 10).astype(int), 9))
    _, unit = np.unique(points.run * 10 + tenth, return_inverse=True)
    count = int(unit.max()) + 1
    size = np.zeros(count, dtype=int)
    size[unit] = points.size
    sums = [
        np.bincount(unit, weights=values, minlength=count)
        for values in (np.ones(len(points)), points.loss, points.loss**2, (points.loss - 10.0**result.eta) ** 2)
    ]
    rng = np.random.default_rng([result.options.seed, 3])
    weight = np.zeros((draws, count))
    for index in range(len(points.sizes)):
        units = np.flatnonzero(size == index)
        weight[:, units] = rng.multinomial(len(units), np.full(len(units), 1.0 / len(units)), size=draws)
    n, first, second, residual = (weight @ values for values in sums)
    return 1.0 - residual / (second - first**2 / n)


def learning_grows(per_size: BootstrappedFit, test: SaturationTest) -> list[Finding]:
    """Claim 3: k grows with N (largest minus smallest size, each fitted alone), and its growth saturates."""
    points = per_size.result.points
    ends = points.sizes[[0, -1]]
    value, draws = per_size.result.parameters.k(ends), per_size.draws.k(ends)
    low, high = np.quantile(draws[:, 1] - draws[:, 0], [0.025, 0.975])
    effect = Estimate(float(value[1] - value[0]), float(low), float(high))
    names = f"{points.label(ends[0])} to {points.label(ends[1])}"
    grows = f"k from {value[0]:.4f} to {value[1]:.4f} ({names}); against constant k p = {test.growth_p:.2g}"
    context, gain = (test.variant, points.unit), "k(largest) - k(smallest)"
    growth, saturation = "Learning efficiency k grows with model size", "The growth of k saturates"
    ratio, over = Estimate(test.rival_lr), "log-likelihood over the non-saturating rival"
    return [
        Finding(3, f"k_grows_{points.unit}", growth, *context, effect, gain, test.growth, grows),
        Finding(3, f"k_saturates_{points.unit}", saturation, *context, ratio, over, test.verdict, test.reason),
    ]


def reuse_is_harmless(effects: list[ReuseEffect], variant: str) -> list[Finding]:
    """Claim 4: hardly any loss up to tau = 25; some at 100."""
    out = []
    moderate = [row for row in effects if row.tau <= 25]
    if moderate:
        worst = max(moderate, key=lambda row: row.ratio.value or 0.0)
        bounds = [(row.ratio.low or 0.0, row.ratio.high or float("inf")) for row in moderate]
        verdict = SUPPORTED if all(high < 1 + HARMLESS for _, high in bounds) else UNDECIDED
        if any(low > 1 + HARMLESS for low, _ in bounds):
            verdict = CONTRADICTED
        reason = (
            f"worst of tau = {', '.join(f'{row.tau:g}' for row in moderate)} is tau = {worst.tau:g}; harmless means "
        )
        reason += f"that the 95 % interval of the final loss ratio stays below {1 + HARMLESS:g}"
        statement = "Reusing data up to 25 times hardly changes the final loss"
        out.append(_reuse_finding("reuse_harmless_to_25", statement, variant, worst, verdict, reason))
    most = next((row for row in effects if row.tau >= 100), None)
    if most is not None:
        low, high = most.ratio.low or 0.0, most.ratio.high or float("inf")
        verdict = SUPPORTED if low > 1.0 else CONTRADICTED if high < 1 + HARMLESS else UNDECIDED
        reason = f"harm is shown where the interval lies above 1, and excluded where it lies below {1 + HARMLESS:g}"
        statement = f"Reusing data {most.tau:g} times overfits moderately"
        out.append(_reuse_finding("reuse_harm_at_100", statement, variant, most, verdict, reason))
    return out


def _reuse_finding(key: str, statement: str, variant: str, row: ReuseEffect, verdict: str, reason: str) -> Finding:
    unit = "final loss / final loss at tau = 1"
    return Finding(4, key, statement, variant, "steps", row.ratio, unit, verdict, reason)
