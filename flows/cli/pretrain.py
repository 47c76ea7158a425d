"""`rlscale pretrain`: the stage that makes or resolves the initial checkpoints."""

from __future__ import annotations

from flows.cli.options import DEFAULT_PARAMS, ParamsOption


def pretrain(params: ParamsOption = DEFAULT_PARAMS) -> None:
    """Make or resolve the initial checkpoints of the model family."""
    from flows.cli.stage_runner import run_stage

    run_stage("pretrain", params)
