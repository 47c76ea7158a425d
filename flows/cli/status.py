"""`rlscale status`: which stages are done, and how far each run is."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.options import DEFAULT_PARAMS, JsonOption, ParamsOption, print_json, print_table
from tasks.study.errors import InputError

if TYPE_CHECKING:
    from tasks.records.run_state import RunState
    from tasks.study.params import Params


def status(
    params: ParamsOption = DEFAULT_PARAMS,
    watch: Annotated[
        float | None,
        typer.Option("--watch", help="Show it again every so many seconds, until every run is finished.", min=0.1),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show which stages are done, and each run's state, rate, time left and last metrics."""
    from tasks.study.params import load_params

    if watch is not None and as_json:
        raise InputError("--watch: shows tables; take --json or --watch, not both")
    loaded = load_params(params)
    while not _show(loaded, as_json) and watch is not None:
        time.sleep(watch)


def _show(params: Params, as_json: bool) -> bool:
    """Prints the study's state; returns whether every run is finished."""
    from tasks.records.run_state import run_state
    from tasks.study.grid import expand_grid
    from tasks.study.paths import STAGES
    from tasks.study.status import stage_done

    stages = {stage: stage_done(params, stage) for stage in STAGES}
    states = [run_state(params, run) for run in expand_grid(params)]
    finished = all(state.finished for state in states)
    if as_json:
        runs = [
            asdict(state) | {"last": state.last and asdict(state.last), "seconds_left": state.seconds_left}
            for state in states
        ]
        print_json({"study": params.study.name, "stages": stages, "runs": runs})
        return finished
    columns = ["run", "state", "step", "s/step", "left", "reward", "test loss", "first loss", "kl", "length", "tokens"]
    print_table(f"Study {params.study.name}", columns, [_status_row(state) for state in states])
    counts = Counter(state.progress for state in states)
    typer.echo("runs: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    typer.echo("stages: " + ", ".join(f"{stage} {'done' if done else 'open'}" for stage, done in stages.items()))
    return finished


def _status_row(state: RunState) -> list[Any]:
    from tasks.report.format import duration

    rate = None if state.step_seconds is None else f"{state.step_seconds:.3g}"
    left = None if state.seconds_left is None else duration(state.seconds_left)
    row = [state.run.run_id, state.progress, f"{state.steps}/{state.run.steps}", rate, left]
    first, last = state.first, state.last
    if first is None or last is None:
        return [*row, *[None] * 6]
    values = (last.reward_mean, last.test_loss, first.test_loss, last.kl, last.completion_length)
    return [*row, *(None if value is None else f"{value:.3g}" for value in values), f"{last.tokens:,}"]
