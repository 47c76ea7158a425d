"""`rlscale status`: which stages are done, and how far each run is."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from flows.cli.options import DEFAULT_PARAMS, JsonOption, ParamsOption, print_json, print_table

if TYPE_CHECKING:
    from tasks.records.run_state import RunState


def status(params: ParamsOption = DEFAULT_PARAMS, as_json: JsonOption = False) -> None:
    """Show which stages are done, and each run's state and last metrics."""
    from tasks.records.run_state import run_state
    from tasks.study.grid import expand_grid
    from tasks.study.params import load_params
    from tasks.study.paths import STAGES
    from tasks.study.status import stage_done

    loaded = load_params(params)
    stages = {stage: stage_done(loaded, stage) for stage in STAGES}
    states = [run_state(loaded, run) for run in expand_grid(loaded)]
    if as_json:
        runs = [asdict(state) | {"last": state.last and asdict(state.last)} for state in states]
        print_json({"study": loaded.study.name, "stages": stages, "runs": runs})
        return
    columns = ["run", "state", "step", "reward", "test loss", "first loss", "kl", "length", "tokens"]
    print_table(f"Study {loaded.study.name}", columns, [_status_row(state) for state in states])
    counts = Counter(state.progress for state in states)
    typer.echo("runs: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    typer.echo("stages: " + ", ".join(f"{stage} {'done' if done else 'open'}" for stage, done in stages.items()))


def _status_row(state: RunState) -> list[Any]:
    row = [state.run.run_id, state.progress, f"{state.steps}/{state.run.steps}"]
    first, last = state.first, state.last
    if first is None or last is None:
        return [*row, *[None] * 6]
    values = (last.reward_mean, last.test_loss, first.test_loss, last.kl, last.completion_length)
    return [*row, *(None if value is None else f"{value:.3g}" for value in values), f"{last.tokens:,}"]
