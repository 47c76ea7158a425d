"""`rlscale pretrain`, `rlscale train [RUN_ID]` and `rlscale report`: single stages and single runs."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.options import DEFAULT_PARAMS, ParamsOption


def pretrain(params: ParamsOption = DEFAULT_PARAMS) -> None:
    """Make or resolve the initial checkpoints of the model family."""
    from flows.run import run_stage

    run_stage("pretrain", params)


def train(
    run_id: Annotated[
        str | None, typer.Argument(help="One run, by its id or the beginning of it; default: all.")
    ] = None,
    params: ParamsOption = DEFAULT_PARAMS,
) -> None:
    """Train every run of the grid that is not done, or one run alone."""
    from flows.run import run_stage, train_alone

    if run_id is None:
        run_stage("train", params)
    else:
        train_alone(run_id, params)


def report(params: ParamsOption = DEFAULT_PARAMS) -> None:
    """Write the page that shows the study's laws, curves and verdicts."""
    from flows.run import run_stage

    run_stage("report", params)


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(pretrain)
    app.command()(train)
    app.command()(report)
