"""Who is compared, how far runs train before they are judged, and that decisions come from the folders alone."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.studies import make_params

from tasks.fit.design.stopping import dominated_runs, runs_to_mark, stopping_marks
from tasks.records.metrics import StepMetrics
from tasks.records.stopping import STOPPED, StoppedRun, read_stopped
from tasks.study.fingerprints import run_fingerprint
from tasks.study.grid import Run, expand_grid
from tasks.study.manifests import write_manifest, write_text
from tasks.study.params import Params
from tasks.study.paths import StudyPaths

SLOPES = {"3k": 0.02, "7k": 0.03, "25k": 0.2, "56k": 0.23}
TRIALS = 4000


def study(root: Path, every: int = 1, **grid: Any) -> Params:
    stopping = {"rule": "dominated", "compare": ["size"]}
    train = {"steps": 40, "stopping": stopping}
    heldout = {"temperature": 0.7, "top_p": 1.0, "samples": 1, "every": every}
    axes = {"sizes": list(SLOPES), "variants": ["base"], "seeds": [0], "reuse": None, "group_size": None}
    return make_params(root, "params.yaml", train=train | {"heldout": heldout}, grid=axes | grid)


def train_until(params: Params, run: Run, last: int) -> None:
    """Rows as training would leave them, the largest size the best."""
    rng = np.random.default_rng(len(run.size) + run.seed)
    rows = [StepMetrics(0)]
    for step in range(1, last + 1):
        wrong = int(rng.binomial(TRIALS, 0.8 * step ** -SLOPES[run.size]))
        evaluated = step % params.train.heldout.every == 0
        tested = {"test_loss": wrong / TRIALS, "test_trials": TRIALS, "test_right": TRIALS - wrong} if evaluated else {}
        rows.append(StepMetrics(step, **tested))  # type: ignore[arg-type]
    write_text(StudyPaths.of(params).metrics(run), "".join(row.line() for row in rows))


def close(params: Params, run: Run, stop: StoppedRun | None) -> None:
    facts = {} if stop is None else {STOPPED: asdict(stop)}
    write_manifest(StudyPaths.of(params).run(run), "train", run_fingerprint(params, run), ["metrics.jsonl"], facts)


def test_the_dominated_of_a_comparison_are_stopped_and_take_no_part_after_that(tmp_path: Path) -> None:
    params = study(tmp_path)
    first, second, *_ = stopping_marks(params)
    runs = expand_grid(params)
    assert [(run.size, step) for run, step in runs_to_mark(params, first)] == [
        ("56k", 10), ("25k", 10), ("7k", 10), ("3k", 10)
    ]  # fmt: skip
    for run in runs:
        train_until(params, run, 13)  # rows beyond the mark do not count
    stops = dict(dominated_runs(params, first))
    assert {run.size for run in stops} == {"3k", "7k"}
    assert all((stop.step, stop.planned, stop.chance < 0.05) == (10, 40, True) for stop in stops.values())
    small, next_one = stops
    close(params, small, stops[small])
    # Killed between two closings, the stage sees what it saw before.
    assert dict(dominated_runs(params, first)) == stops
    close(params, next_one, stops[next_one])
    assert read_stopped(params, next_one) == stops[next_one]
    assert [(run.size, step) for run, step in runs_to_mark(params, second)] == [("56k", 14), ("25k", 14)]
    for run in runs[2:]:
        train_until(params, run, 14)
    assert {run.size for run, _ in dominated_runs(params, second)} <= {"25k"}


def test_a_run_that_is_whole_already_is_compared_but_not_trained(tmp_path: Path) -> None:
    params = study(tmp_path)
    *others, best = expand_grid(params)
    train_until(params, best, 40)
    close(params, best, None)
    assert [run for run, _ in runs_to_mark(params, 0.25)] == others[::-1]
    for run in others:
        train_until(params, run, 10)
    stops = dominated_runs(params, 0.25)
    assert {run.size for run, _ in stops} == {"3k", "7k"}
    assert {stop.favorite for _, stop in stops} <= {others[-1].run_id, best.run_id}


def test_seeds_and_variants_are_compared_each_with_its_own(tmp_path: Path) -> None:
    params = study(tmp_path, variants=["base", "instruct"], seeds=[0, 1])
    for run in expand_grid(params):
        train_until(params, run, 10)
    stops = dominated_runs(params, 0.25)
    runs = {run.run_id: run for run in expand_grid(params)}
    assert len(stops) == 8
    for run, stop in stops:
        favorite = runs[stop.favorite]
        assert (favorite.variant, favorite.seed) == (run.variant, run.seed)
        assert favorite.size in ("25k", "56k")


@pytest.mark.parametrize(("every", "steps"), [(1, [10, 14, 18]), (4, [12, 16, 20]), (15, [15, 15, 30])])
def test_runs_are_judged_at_evaluated_steps(every: int, steps: list[int], tmp_path: Path) -> None:
    params = study(tmp_path, every)
    assert [runs_to_mark(params, mark)[0][1] for mark in stopping_marks(params)[:3]] == steps


def test_a_shorter_run_is_judged_at_fractions_of_its_own_steps_and_one_alone_is_never_asked(tmp_path: Path) -> None:
    entries = [{"size": "3k", "variant": "base", "steps": 20, "seeds": [0]}]
    entries.append({"size": "7k", "variant": "base", "steps": 20, "seeds": [9]})
    params = study(tmp_path, runs=entries)
    assert {run.size: step for run, step in runs_to_mark(params, 0.25)} == {"56k": 10, "25k": 10, "3k": 5}


def test_without_the_rule_nothing_is_asked(tmp_path: Path) -> None:
    assert stopping_marks(make_params(tmp_path)) == ()
