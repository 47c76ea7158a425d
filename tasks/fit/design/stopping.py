"""Stopping the runs of a study: which are compared, how far each trains before it is judged, and who is dominated.

Everything is read from the runs' folders, so a study that was killed comes to the same decisions again. A decision
depends on the runs beside the one that is judged; a run that was once stopped stays so, whatever is added to the grid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from tasks.fit.design.dominance import LEAST_POINTS, Curve, Ends, forecast_ends
from tasks.records.metrics import StepMetrics, read_metrics
from tasks.records.stopping import StoppedRun, read_stopped
from tasks.study.fingerprints import run_fingerprint
from tasks.study.grid import Run, expand_grid, longest_first
from tasks.study.manifests import is_complete
from tasks.study.params import Params
from tasks.study.paths import StudyPaths


def stopping_marks(params: Params) -> tuple[float, ...]:
    """Fractions of their steps at which runs are judged; none where `train.stopping` is absent."""
    return params.train.stopping.marks if params.train.stopping else ()


def runs_to_mark(params: Params, mark: float) -> list[tuple[Run, int]]:
    """The open runs that are judged at a mark, longest first, each with the step at which that is."""
    paths = StudyPaths.of(params)
    compared = [run for runs in _candidates(params, mark) for run in runs]
    waiting = [run for run in compared if not is_complete(paths.run(run), run_fingerprint(params, run))]
    return [(run, _step(params, run, mark)) for run in longest_first(params, waiting)]


def dominated_runs(params: Params, mark: float) -> list[tuple[Run, StoppedRun]]:
    """The runs to stop at a mark which all open candidates have reached, each with the record of why.

    Those that were closed at this very mark are judged again with the others: a stage that was killed between two
    closings must see what it saw before.
    """
    return [entry for runs in _candidates(params, mark) for entry in _judge(params, runs, mark)]


def _candidates(params: Params, mark: float) -> list[list[Run]]:
    """Of every comparison the runs that are still in it at a mark, where there are two or more."""
    still = [[run for run in runs if _is_candidate(params, run, mark)] for runs in _comparisons(params)]
    return [runs for runs in still if len(runs) > 1]


def _comparisons(params: Params) -> list[list[Run]]:
    """Runs that differ on the axes of `train.stopping.compare` alone."""
    assert params.train.stopping is not None
    own = {"run_id", "steps", *params.train.stopping.compare}
    groups: dict[tuple[object, ...], list[Run]] = {}
    for run in expand_grid(params):
        key = tuple(value for name, value in asdict(run).items() if name not in own)
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def _step(params: Params, run: Run, mark: float) -> int:
    """The evaluated step at or after a fraction of a run, its last one at most."""
    every = params.train.heldout.every
    return min(math.ceil(mark * run.steps / every - 1e-9) * every, run.steps)


def _is_candidate(params: Params, run: Run, mark: float) -> bool:
    """Whether a run was not stopped before this mark and would not end with it."""
    stop = read_stopped(params, run)
    return (stop is None or stop.mark >= mark) and _step(params, run, mark) < run.steps


def _judge(params: Params, runs: Sequence[Run], mark: float) -> list[tuple[Run, StoppedRun]]:
    """The dominated among the candidates of one comparison; those with too few points are left out."""
    assert params.train.stopping is not None
    paths = StudyPaths.of(params)
    curves = {run: _curve(read_metrics(paths.metrics(run)), run.steps, _step(params, run, mark)) for run in runs}
    known = [run for run in runs if len(curves[run].step) >= LEAST_POINTS]
    if len(known) < 2:
        return []
    ends = forecast_ends([curves[run] for run in known])
    losers = np.flatnonzero(ends.chances() < params.train.stopping.chance)
    return [
        (known[index], _record(known, ends, int(index), mark, _step(params, known[index], mark))) for index in losers
    ]


def _curve(rows: list[StepMetrics], last_step: int, until: int) -> Curve:
    """The evaluated steps up to `until`; x is the log10 of the step over the last one, to which data and, nearly,
    compute are proportional. A loss of 0 counts as half a wrong answer."""
    seen = [row for row in rows if 0 < row.step <= until and row.test_trials and row.test_right is not None]
    step = np.array([row.step for row in seen], dtype=float)
    trials = np.array([row.test_trials for row in seen], dtype=float)
    wrong = trials - np.array([row.test_right for row in seen], dtype=float)
    return Curve(step, np.log10(step / last_step), np.log10(np.maximum(wrong, 0.5) / trials), float(last_step))


def _record(runs: Sequence[Run], ends: Ends, index: int, mark: float, step: int) -> StoppedRun:
    run, best = runs[index], ends.favorite
    return StoppedRun(
        run_id=run.run_id,
        mark=mark,
        step=step,
        planned=run.steps,
        chance=float(ends.chances()[index]),
        favorite=runs[best].run_id,
        loss=float(10.0 ** ends.mean[index]),
        favorite_loss=float(10.0 ** ends.mean[best]),
        regret=float(ends.regrets()[index]),
    )
