"""The stopping rule replayed on finished runs: what it would have cost, and what would have been lost by it.

A comparison is a set of candidates and the resource at which they are compared. Sizes: for every resource at which the
run of a size ends, all sizes that reached it with enough points to be judged at the first mark (equal compute, or equal
data). Variants: one size, to where the shortest run ends. Reuse factors: likewise. Runs of one candidate (seeds) are
averaged step by step.

Cost is the share of the resource spent, of what training all candidates would have taken; regret is by how much the
lowest final loss among those trained to the end exceeds the lowest of all. A final loss is the mean over the last
tenth: single evaluations scatter by more than candidates differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tasks.fit.data.measurements import Floats, Measurements
from tasks.fit.design.dominance import LEAST_POINTS, Curve, forecast_ends
from tasks.study.params import Stopping

_TOLERANCE = 1e-9
FINAL_SHARE = 0.1


@dataclass(frozen=True)
class Trajectory:
    """A finished candidate: steps, log10 X and log10 L [P], ascending."""

    name: str
    step: Floats
    x: Floats
    y: Floats

    def until(self, x: float, end: float) -> Curve:
        """Its points up to log10 X = `x`, as a run that ends at `end`."""
        seen = self.x <= x + _TOLERANCE
        last = float(self.step[self.x <= end + _TOLERANCE].max())
        return Curve(self.step[seen], self.x[seen] - end, self.y[seen], last)

    def final_loss(self, end: float) -> float:
        """Mean L over the last tenth before `end`."""
        late = (self.x <= end + _TOLERANCE) & (self.x >= end + np.log10(1.0 - FINAL_SHARE))
        return float(np.mean(10.0 ** self.y[late])) if late.any() else float(10.0 ** self.y[self.x <= end][-1])


@dataclass(frozen=True)
class Comparison:
    """Candidates that are compared at log10 X = `end`."""

    name: str
    end: float
    candidates: list[Trajectory]


@dataclass(frozen=True)
class Outcome:
    """A comparison replayed: the share of its run that each candidate was trained, its final loss, regret and cost."""

    name: str
    trained: dict[str, float]
    final_loss: dict[str, float]
    chosen: str
    regret: float
    cost: float


@dataclass(frozen=True)
class Replay:
    """All comparisons; mean and largest regret in L, cost as a share of training everything."""

    outcomes: list[Outcome]
    regret: float
    worst: float
    cost: float


def size_comparisons(points: Measurements, stopping: Stopping) -> list[Comparison]:
    """Sizes at equal resource."""
    sizes = _trajectories(points)
    out = []
    for end in sorted({float(own.x[-1]) for own in sizes}):
        first = end + np.log10(stopping.first) + _TOLERANCE
        others = [run for run in sizes if run.x[-1] >= end - _TOLERANCE and np.sum(run.x <= first) >= LEAST_POINTS]
        if len(others) > 1:
            out.append(Comparison(f"{points.unit} {10.0**end:.3g}", end, others))
    return out


def tau_comparisons(groups: Mapping[str, Measurements]) -> list[Comparison]:
    """Reuse factors of every group."""
    return [_to_the_shortest(name, _trajectories(points)) for name, points in groups.items()]


def variant_comparisons(groups: Mapping[str, Measurements]) -> list[Comparison]:
    """Variants of every size that several of them have."""
    out = []
    for n in sorted({float(n) for points in groups.values() for n in points.sizes}):
        having = {name: points.where(points.n == n) for name, points in groups.items() if n in points.sizes}
        if len(having) > 1:
            runs = [run for name, points in having.items() for run in _trajectories(points, f"{name} ")]
            out.append(_to_the_shortest(next(iter(having.values())).label(n), runs))
    return out


def _to_the_shortest(name: str, runs: list[Trajectory]) -> Comparison:
    return Comparison(name, min(float(run.x[-1]) for run in runs), runs)


def _trajectories(points: Measurements, prefix: str = "") -> list[Trajectory]:
    """One candidate for each N, its runs averaged step by step."""
    out = []
    for n in points.sizes:
        of_size = points.n == n
        steps, index = np.unique(points.step[of_size], return_inverse=True)
        count = np.bincount(index)
        x, y = (np.bincount(index, weights=column[of_size]) / count for column in (points.x, points.y))
        out.append(Trajectory(prefix + points.label(float(n)), steps.astype(float), x, y))
    return out


def replay(comparisons: Iterable[Comparison], stopping: Stopping) -> Replay:
    """Replays the rule on every comparison."""
    outcomes = [_replay_one(entry, stopping) for entry in comparisons]
    regrets = [entry.regret for entry in outcomes]
    spent = sum(sum(entry.trained.values()) for entry in outcomes)
    return Replay(
        outcomes, float(np.mean(regrets)), max(regrets), spent / sum(len(entry.trained) for entry in outcomes)
    )


def _replay_one(comparison: Comparison, stopping: Stopping) -> Outcome:
    end, trained = comparison.end, {run.name: 1.0 for run in comparison.candidates}
    for mark in stopping.marks:
        going = [run for run in comparison.candidates if trained[run.name] == 1.0]
        curves = {run.name: run.until(end + float(np.log10(mark)), end) for run in going}
        known = [name for name, curve in curves.items() if len(curve.step) >= LEAST_POINTS]
        if len(known) < 2:
            continue
        chances = forecast_ends([curves[name] for name in known]).chances()
        trained |= {name: mark for name, chance in zip(known, chances, strict=True) if chance < stopping.chance}
    final = {run.name: run.final_loss(end) for run in comparison.candidates}
    chosen = min((name for name in final if trained[name] == 1.0), key=lambda name: final[name])
    regret = final[chosen] - min(final.values())
    return Outcome(comparison.name, trained, final, chosen, regret, float(np.mean(list(trained.values()))))
