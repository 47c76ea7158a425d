"""`rlscale train [RUN_ID]`: the stage, or a single run."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.options import DEFAULT_PARAMS, ParamsOption


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
