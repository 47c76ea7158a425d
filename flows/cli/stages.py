"""`rlscale pretrain`, `rlscale train [RUN_ID]` and `rlscale report`: single stages and single runs."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.options import DEFAULT_PARAMS, JsonOption, ParamsOption, print_json


def pretrain(params: ParamsOption = DEFAULT_PARAMS) -> None:
    """Make or resolve the initial checkpoints of the model family."""
    from flows.cli.stage_runner import run_stage

    run_stage("pretrain", params)


def train(
    run_id: Annotated[
        str | None, typer.Argument(help="One run, by its id or the beginning of it; default: all.")
    ] = None,
    params: ParamsOption = DEFAULT_PARAMS,
) -> None:
    """Train every run of the grid that is not done, or one run alone."""
    from flows.cli.stage_runner import run_stage, train_single_run

    if run_id is None:
        run_stage("train", params)
    else:
        train_single_run(run_id, params)


def report(params: ParamsOption = DEFAULT_PARAMS, as_json: JsonOption = False) -> None:
    """Write the page that shows the study's laws, curves and verdicts."""
    import contextlib
    import json
    import sys

    from flows.cli.stage_runner import run_stage
    from tasks.study.params import load_params
    from tasks.study.paths import StudyPaths

    with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
        run_stage("report", params)
    page = StudyPaths.of(load_params(params)).report
    if as_json:
        summary = json.loads(page.with_name("summary.json").read_text(encoding="utf-8"))
        print_json(summary | {"report": str(page)})
    else:
        typer.echo(f"report: {page}")


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(pretrain)
    app.command()(train)
    app.command()(report)
