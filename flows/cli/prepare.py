"""`rlscale prepare`: the stage, a look at what it made, and measuring how hard problems are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import DEFAULT_PARAMS, JsonOption, ParamsOption, print_json, print_table, progress_output


def prepare(
    params: ParamsOption = DEFAULT_PARAMS,
    describe: Annotated[bool, typer.Option("--describe", help="Show what was prepared, do nothing.")] = False,
    measure_pass_rate: Annotated[
        str | None,
        typer.Option(
            "--measure-pass-rate",
            metavar="MODEL",
            help="Measure the pass rate of problems that have none with this model: a checkpoint folder, or a model "
            "of the study such as 56k-base.",
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Samples per problem when measuring.")] = 16,
    engine: Annotated[str | None, typer.Option(help="transformers or vllm; default: train.engine.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the problem sets: read, clean, decontaminate, order by difficulty, split."""
    from tasks.study.params import load_params

    study = load_params(params)
    if measure_pass_rate is not None:
        from flows.cli.extras import require_study

        require_study()
        from tasks.prepare.measure_pass_rates import measure

        path, count = measure(study, measure_pass_rate, samples, engine or study.train.engine, _progress)
        if as_json:
            print_json({"file": str(path), "problems": count})
        else:
            typer.echo(f"{count} problems measured; to use them set prepare.pass_rates: {path}")
        return
    if not describe:
        from flows.cli.stage_runner import run_stage

        with progress_output(as_json):
            run_stage("prepare", params)
    if describe or as_json:
        _describe(params, as_json)


def _describe(params: Path, as_json: bool) -> None:
    from tasks.prepare.describe import description, tables
    from tasks.study.params import load_params

    facts = description(load_params(params))
    if as_json:
        print_json(facts)
        return
    for table in tables(facts):
        print_table(table.title, table.columns, table.rows)


def _progress(done: int, total: int) -> None:
    typer.echo(f"{done}/{total} problems", err=True)
