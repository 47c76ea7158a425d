"""How much of a study's gain is format: the strict and the lenient loss before and after training, problem by problem.

    gain(score) = mean over runs and held-out problems of (score after training - score before)
    format      = gain(strict) - gain(lenient)

Runs (within their size) and problems are drawn anew together, the same problems for all runs and both scores, so that
the interval holds the variation between runs and the choice of problems, and the two gains stay paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.records.fits import Estimate
from tasks.records.samples import read_samples
from tasks.report.inputs import Floats, StudyResults
from tasks.study.grid import Run
from tasks.study.paths import StudyPaths
from tasks.study.policies import HELDOUT, initial_name, list_policies

DRAWS = 2000


@dataclass(frozen=True)
class FormatGain:
    """Gains of the runs of a variant from their initial policies to their final ones, with 95 % intervals.

    Attributes:
        variant: base or instruct.
        runs: how many runs.
        strict: fall of the strict loss.
        lenient: fall of the lenient loss.
        difference: strict - lenient, the gain that is format.
        share: difference / strict; without a value where the interval of the strict gain reaches 0.
    """

    variant: str
    runs: int
    strict: Estimate
    lenient: Estimate
    difference: Estimate
    share: Estimate


def format_gains(results: StudyResults) -> list[FormatGain] | str:
    """Measures the scale axis of each variant on the final evaluation's samples of the held-out set.

    Returns:
        One per variant, or why it cannot be measured: samples that are not here, or that hold one score only.
    """
    params, scores = results.params, dict[str, Floats]()
    for policy in list_policies(params):
        path = StudyPaths.of(params).samples(policy, HELDOUT)
        if not path.is_file():
            return "the samples of the final evaluation are not on this machine"
        table = _problem_scores(path)
        if table is None:
            return f"the samples of {policy.name} hold no lenient score; an older version wrote them"
        scores[policy.name] = table
    runs = {variant: [log.run for log in results.scale_runs(variant)] for variant in results.variants}
    return [_gain(variant, chosen, scores, params.fit.seed) for variant, chosen in runs.items() if chosen]


def _problem_scores(path: Path) -> Floats | None:
    """Mean strict and lenient score of each problem [problems, 2], problems in order of id."""
    sums: dict[str, list[float]] = {}
    for sample in read_samples(path):
        if sample.lenient is None:
            return None
        entry = sums.setdefault(sample.problem_id, [0.0, 0.0, 0.0])
        for place, value in enumerate((sample.score == 1.0, sample.lenient == 1.0, 1.0)):
            entry[place] += value
    values = np.array([sums[name] for name in sorted(sums)])
    return np.asarray(values[:, :2] / values[:, 2:], dtype=float)


def _gain(variant: str, runs: Sequence[Run], scores: dict[str, Floats], seed: int) -> FormatGain:
    gains = np.stack([scores[run.run_id] - scores[initial_name(run.model)] for run in runs])
    strict, lenient = bootstrap_gains(gains, [run.size for run in runs], np.random.default_rng(seed))
    mean = gains.mean(axis=(0, 1))
    total = _estimate(float(mean[0]), strict)
    share = Estimate(None)
    if total.low is not None and total.low > 0:
        share = _estimate(float(1 - mean[1] / mean[0]), 1 - lenient / strict)
    difference = _estimate(float(mean[0] - mean[1]), strict - lenient)
    return FormatGain(variant, len(runs), total, _estimate(float(mean[1]), lenient), difference, share)


def bootstrap_gains(gains: Floats, sizes: Sequence[str], rng: np.random.Generator, draws: int = DRAWS) -> Floats:
    """Mean gains of both scores when runs, within their size, and problems are drawn anew.

    Args:
        gains: by run, problem and score [runs, problems, 2].
        sizes: of the runs.
        rng: draws.
        draws: how many.

    Returns:
        [2, draws].
    """
    runs, problems, _ = gains.shape
    weights = np.zeros((draws, runs))
    for size in dict.fromkeys(sizes):
        members = np.flatnonzero(np.array(sizes) == size)
        weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=draws)
    drawn = rng.multinomial(problems, np.full(problems, 1 / problems), size=draws)
    return np.einsum("dr,rps,dp->sd", weights, gains, drawn, optimize=True) / (runs * problems)


def _estimate(value: float, draws: Floats) -> Estimate:
    low, high = np.quantile(draws, [0.025, 0.975])
    return Estimate(value, float(low), float(high))
