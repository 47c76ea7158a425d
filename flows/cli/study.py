"""`rlscale study`: the whole study, or what it would do."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import DEFAULT_PARAMS, JsonOption, ParamsOption, print_json, print_table

if TYPE_CHECKING:
    from tasks.study.params import Params


def study(
    params: ParamsOption = DEFAULT_PARAMS,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the runs, their cost and what is done; write nothing.")
    ] = False,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the params file, e.g. train.steps=20."),
    ] = None,
    direct: Annotated[bool, typer.Option("--direct", help="Run the flow itself, without `dvc repro`.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run all six stages, each doing only what is not done, and print the findings."""
    from flows.cli.dvc_repro import reproduce, tracked_by_dvc
    from flows.cli.extras import require_study
    from flows.cli.overrides import preview, write_overridden_params
    from flows.cli.stage_runner import run_stage
    from tasks.study.params import load_params

    if dry_run:
        _show_plan(preview(params, change) if change else load_params(params), as_json)
        return
    require_study()
    if change:
        params = write_overridden_params(params, change)
    loaded = load_params(params)
    if direct or not tracked_by_dvc(params):
        run_stage("study", params)
    else:
        reproduce(params)
    _show_findings(loaded, as_json)


def _show_plan(params: Params, as_json: bool) -> None:
    """The runs of the grid with predicted cost and state."""
    from flows.cli.stage_runner import unfinished_stages
    from tasks.costs.disk import GB, free_bytes, study_disk
    from tasks.costs.gpu_table import find_gpu
    from tasks.costs.grid_cost import estimate_run_cost, grid_cost
    from tasks.costs.step_time import Efficiency
    from tasks.records.run_state import run_state
    from tasks.study.grid import expand_grid

    rows = []
    for run in expand_grid(params):
        state = run_state(params, run)
        rows.append(
            asdict(run)
            | asdict(estimate_run_cost(params, run))
            | {"state": state.progress, "steps_done": state.steps, "finished": state.finished}
        )
    unfinished, disk, free = unfinished_stages(params), study_disk(params), free_bytes(params.root)
    gpu, efficiency = find_gpu("h100"), Efficiency()
    hours = grid_cost(params, gpu, efficiency).gpu_hours
    if as_json:
        space = {"peak": disk.peak, "kept": disk.kept, "free": free}
        print_json(
            {"study": params.study.name, "open_stages": unfinished, "disk": space, "gpu_hours": hours, "runs": rows}
        )
        return
    columns = ["run", "N", "tokens at most", "6NT at most", "state", "steps"]
    table = [
        [row["run_id"], f"{row['n_params']:,.0f}", f"{row['tokens']:.3g}", f"{row['compute']:.3g}", row["state"],
         f"{row['steps_done']}/{row['steps']}"]
        for row in rows
    ]  # fmt: skip
    print_table(f"{len(rows)} runs of study {params.study.name}", columns, table)
    total = sum(row["compute"] for row in rows)
    done = sum(row["finished"] for row in rows)
    typer.echo(f"{done} of {len(rows)} runs done; all together at most 6NT = {total:.3g} FLOPs")
    typer.echo(
        f"on {gpu.name} about {hours:,.4g} GPU-h, {1 / efficiency.range80:.2f} to {efficiency.range80:.2f} times that "
        "(80 % range; other GPUs: rlscale plan --grid)"
    )
    typer.echo(
        f"disk of all runs: at most {disk.peak / GB:,.4g} GB, {disk.kept / GB:,.4g} GB when all is done; "
        f"{free / GB:,.4g} GB free"
    )
    typer.echo(f"stages with something to do: {', '.join(unfinished) or 'none'}")


def _show_findings(params: Params, as_json: bool) -> None:
    """The fit's findings, first in plain sentences, and where the report lies."""
    from tasks.records.findings import FindingsFile, read_findings
    from tasks.report.text import plain_sentences
    from tasks.study.paths import StudyPaths

    findings = read_findings(params)
    sentences = plain_sentences(FindingsFile.read(StudyPaths.of(params).stage("fit")).findings)
    page = StudyPaths.of(params).report
    if as_json:
        print_json({"sentences": sentences} | findings | {"report": str(page)})
        return
    typer.echo("\n".join(["", *sentences, ""]))
    for title, key in (("Fitted law, 95 % intervals", "laws"), ("Published claims, judged", "claims")):
        rows = findings[key]
        columns = list(dict.fromkeys(name for row in rows for name in row))
        if rows:
            print_table(title, columns, [[row.get(name) for name in columns] for row in rows])
    typer.echo(f"report: {page}")
