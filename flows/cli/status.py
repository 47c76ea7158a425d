"""`rlscale status`, `rlscale verify` and `rlscale sync`: what is there, is it intact, and showing it elsewhere."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

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
    print_table(f"Study {loaded.study.name}", columns, [_status_row(state, loaded.train.steps) for state in states])
    counted = Counter(state.progress for state in states)
    typer.echo("runs: " + ", ".join(f"{count} {name}" for name, count in counted.items()))
    typer.echo("stages: " + ", ".join(f"{stage} {'done' if done else 'open'}" for stage, done in stages.items()))


def _status_row(state: RunState, steps: int) -> list[Any]:
    row = [state.run.run_id, state.progress, f"{state.steps}/{steps}"]
    first, last = state.first, state.last
    if first is None or last is None:
        return [*row, *[None] * 6]
    values = (last.reward_mean, last.test_loss, first.test_loss, last.kl, last.completion_length)
    return [*row, *(None if value is None else f"{value:.3g}" for value in values), f"{last.tokens:,}"]


def verify(params: ParamsOption = DEFAULT_PARAMS, as_json: JsonOption = False) -> None:
    """Compare every file of the study with the digest in its manifest; exit code 1 where one differs."""
    from tasks.study.manifests import MANIFEST, verify
    from tasks.study.params import load_params
    from tasks.study.paths import STAGES

    loaded = load_params(params)
    # The stages' folders only: a tracker's store beside them holds copies of manifests without their files.
    folders = sorted(path.parent for stage in STAGES for path in (loaded.root / stage).rglob(MANIFEST))
    damaged = {str(folder.relative_to(loaded.root)): names for folder in folders if (names := verify(folder))}
    if as_json:
        print_json({"folders": len(folders), "damaged": damaged})
    else:
        for folder, names in damaged.items():
            typer.echo(f"{folder}: missing or changed: {', '.join(names)}")
        typer.echo(f"{len(folders)} folders with a manifest, {len(damaged)} damaged")
    raise typer.Exit(1 if damaged else 0)


def sync(
    params: ParamsOption = DEFAULT_PARAMS,
    uri: Annotated[str | None, typer.Option("--uri", help="MLflow store; default: the study's own.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Replay the study's folders into an MLflow store, new or not; what is already there stays as it is."""
    from flows.cli.extras import require_study
    from tasks.runtime.mlflow_tracking import store_uri
    from tasks.runtime.mlflow_tracking import sync as replay
    from tasks.study.params import load_params

    require_study()
    loaded = load_params(params)
    added = replay(loaded, uri)
    place = uri or store_uri(loaded)
    if as_json:
        print_json(added | {"uri": place})
    else:
        typer.echo(f"{added['runs']} runs in {place}, {added['rows']} rows added")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(status)
    app.command()(verify)
    app.command()(sync)
