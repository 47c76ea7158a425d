"""Where the variance of a measured loss comes from: initial models, runs of one model, the answers of an evaluation.

With y = log10 L and a run's end the mean of y over its last quarter, n evaluations:

    answers        mean of (y_i - y_(i-1))^2 / 2 over the last halves of the runs (von Neumann's estimator: what moves
                   from one evaluation to the next, whatever slowly goes up or down)
    between seeds  variance of the ends of the scale axis' runs of a size, less answers / n
    between runs   the same of runs of one initial model: those of the reuse axis whose reuse factor is harmless, and
                   all seeds where they share a model

Where every seed has an initial model, between seeds = initial models + runs of one model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tasks.records.variances import VarianceParts
from tasks.study.grid import Run

MOST_REUSE = 10
"""Runs that see their prompts up to so often count as repeats of one another; the published study finds no harm."""

_FEWEST_EVALUATIONS, _FEWEST_REPEATS = 8, 3


def variance_parts(rows: Sequence[dict[str, Any]], runs: Sequence[Run], group_size: int) -> list[VarianceParts]:
    """The parts of every variant and size that has runs long enough.

    Args:
        rows: of `points.parquet`.
        runs: of the grid.
        group_size: the study's.
    """
    losses: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        if row["step"] > 0:
            losses.setdefault(row["run_id"], []).append((row["step"], row["test_loss"]))
    series = {
        name: np.log10([loss for _, loss in sorted(points)])
        for name, points in losses.items()
        if len(points) >= _FEWEST_EVALUATIONS
    }
    usable = [run for run in runs if run.group_size == group_size and run.run_id in series]
    cells = dict.fromkeys((run.variant, run.size) for run in usable if run.tau == 1)
    return [_parts([run for run in usable if (run.variant, run.size) == cell], series) for cell in cells]


def _parts(runs: list[Run], series: dict[str, np.ndarray]) -> VarianceParts:
    scale = [run for run in runs if run.tau == 1]
    halves = [series[run.run_id][len(series[run.run_id]) // 2 :] for run in scale]
    answers = float(np.mean([np.mean(np.diff(half) ** 2) / 2 for half in halves]))
    own_models = len({run.model for run in scale}) == len(scale) > 1
    of_model: dict[str, list[Run]] = {}
    for run in runs:
        if run.tau <= MOST_REUSE:
            of_model.setdefault(run.model, []).append(run)
    repeats = max(of_model.values(), key=len)
    return VarianceParts(
        scale[0].variant,
        scale[0].size,
        len(scale),
        _between(scale, series, answers) if len(scale) > 1 else None,
        own_models,
        len(repeats),
        _between(repeats, series, answers) if len(repeats) >= _FEWEST_REPEATS else None,
        answers,
    )


def _between(runs: list[Run], series: dict[str, np.ndarray], answers: float) -> float:
    """Variance between the ends of runs without what the answers add to it, at least 0."""
    tails = [series[run.run_id][-(len(series[run.run_id]) // 4) :] for run in runs]
    noise = float(np.mean([answers / len(tail) for tail in tails]))
    return max(float(np.var([tail.mean() for tail in tails], ddof=1)) - noise, 0.0)
