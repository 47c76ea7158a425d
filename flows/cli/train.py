"""`rlscale train [RUN_ID]`: the stage, a single run, or whether a size fits its devices."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import DEFAULT_PARAMS, JsonOption, ParamsOption, print_json, print_table


def train(
    run_id: Annotated[
        str | None, typer.Argument(help="One run, by its id or the beginning of it; default: all.")
    ] = None,
    params: ParamsOption = DEFAULT_PARAMS,
    fit_check: Annotated[
        str | None,
        typer.Option("--fit-check", metavar="SIZE", help="Measure a size's memory without its GPUs; train nothing."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Train every run of the grid that is not done, or one run alone; or see whether a size fits its GPUs."""
    from flows.cli.stage_runner import run_stage, train_single_run

    if fit_check is not None:
        _show_fit(params, fit_check, as_json)
    elif run_id is None:
        run_stage("train", params)
    else:
        train_single_run(run_id, params)


def _show_fit(params_file: Path, size: str, as_json: bool) -> None:
    """Memory of an update measured on fake tensors, with the engine's beside it.

    Raises:
        InputError: the extra [study] is not installed, or as `tasks.train.fit_check.check_fit`.
    """
    from flows.cli.extras import require_study

    require_study()
    from tasks.runtime.gpu_locks import read_devices
    from tasks.study.params import load_params
    from tasks.train.fit_check import check_fit

    found = check_fit(load_params(params_file), size, read_devices(os.environ.get("CUDA_VISIBLE_DEVICES")))
    if as_json:
        values = {"hardware": found.hardware.model_dump(mode="json"), "ratio": found.ratio, "fits": found.fits}
        print_json(asdict(found) | values)
        return
    hardware, measured = found.hardware, found.measured
    rows = [
        ["micro-batch", f"{hardware.token_budget} rows, {'' if hardware.gradient_checkpointing else 'not '}recomputed"],
        ["update, measured on fake tensors", f"{found.peak:.2f} GiB"],
        ["update, estimated", f"{found.estimated:.2f} GiB, {found.ratio:.2f} of it"],
        ["engine", f"tensor parallel {hardware.vllm.tensor_parallel}, {found.engine:.2f} GiB"],
        ["engine asleep", f"{found.sleeping:.2f} GiB"],
        ["in an update", f"{found.in_update:.2f} of {found.usable:.2f} GiB usable"],
        ["in rollouts", f"{found.in_rollouts:.2f} of {found.usable:.2f} GiB usable"],
        ["a micro-batch gathers", f"{measured.moved['gather'] / 1e9:.4g} GB in {measured.calls['gather']} calls"],
        ["a micro-batch reduces", f"{measured.moved['reduce'] / 1e9:.4g} GB in {measured.calls['reduce']} calls"],
    ]
    print_table(f"{size} on {found.gpus} GPUs", ["what", "each GPU"], rows)
    typer.echo("fits" if found.fits else "does not fit")
