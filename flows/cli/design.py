"""`rlscale design`: which runs to buy for a forecast, and what the stopping rule would have saved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.cli.column_options import (
    FileArgument,
    VariantOption,
    XOption,
    parse_size,
    print_tables,
    study_points_path,
)
from flows.cli.cost_options import HardwareOptions, StepOptions
from flows.cli.options import DEFAULT_PARAMS, JsonOption, ParamsOption, option_groups, print_json
from tasks.study.errors import InputError

if TYPE_CHECKING:
    from tasks.fit.design.proposal import Design
    from tasks.fit.design.replay import Replay
    from tasks.study.params import Stopping

Compared = Literal["size", "variant", "tau"]


@option_groups
def design(
    file: FileArgument = None,
    *,
    target_n: Annotated[str | None, typer.Option("--target-n", help="Size to forecast, e.g. 72B.")] = None,
    target_x: Annotated[str | None, typer.Option("--target-x", help="Resource at which it is forecast.")] = None,
    budget: Annotated[str | None, typer.Option("--budget", help="400gpu-h, 1e21flop or 1000usd.")] = None,
    allow_target_steps: Annotated[
        bool, typer.Option("--allow-target-steps", help="First steps of the target may be bought too.")
    ] = False,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="The file tells the law; its runs do not count as there.")
    ] = False,
    sizes: Annotated[str | None, typer.Option("--sizes", help="N by commas that may be bought; default: all.")] = None,
    hardware: HardwareOptions,
    step: StepOptions,
    x_column: XOption = None,
    variant: VariantOption = None,
    write: Annotated[
        Path | None, typer.Option("--write", help="Write a params file that runs the design.", metavar="PARAMS")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option("--replay", help="Replay the stopping rule on finished runs.", metavar="FILE")
    ] = None,
    compare: Annotated[Compared, typer.Option("--compare", help="What --replay compares.")] = "size",
    params: ParamsOption = DEFAULT_PARAMS,
    as_json: JsonOption = False,
) -> None:
    """Which sizes to run, for how many steps and with how many seeds, to forecast one size as surely as may be.

    With --replay: what stopping dominated runs would have cost and lost on runs that are finished.
    """
    if replay is not None:
        _show_replay(replay, compare, x_column, as_json)
        return
    if target_n is None or target_x is None or budget is None:
        raise InputError("design: give --target-n, --target-x and --budget, or --replay for finished runs")
    from tasks.costs.step_cost import parse_budget
    from tasks.fit.data.groups import Columns, read_group
    from tasks.fit.design.proposal import Goal, grid_entries, make_design
    from tasks.fit.forecasting.plan import PlanSettings
    from tasks.fit.forecasting.workload import workload_of

    resource, target = parse_size(target_x, "--target-x"), parse_size(target_n, "--target-n")
    goal = Goal(target, resource, parse_budget(budget), allow_target_steps, from_scratch)
    group, points = read_group(file or study_points_path(params), Columns(x=x_column), variant=variant)
    candidates = [parse_size(text, "--sizes") for text in sizes.split(",")] if sizes else points.sizes.tolist()
    work, assumed = workload_of(points, **vars(step))
    result = make_design(points, goal, candidates, PlanSettings(work, *hardware.gpu_and_efficiency()))
    if write is not None:
        from flows.cli.overrides import write_design_params
        from tasks.study.params import load_params

        entries = grid_entries(result, points, load_params(params), variant or group)
        write_design_params(params, write, entries, result.last_step)
    _show_design(result, [*result.notes, *assumed], goal.budget.unit, write, as_json)


def _show_design(design: Design, notes: list[str], unit: str, written: Path | None, as_json: bool) -> None:
    from tasks.fit.output.design_tables import design_tables
    from tasks.records.json_files import to_json

    if as_json:
        print_json(to_json({**vars(design), "notes": notes}))
        return
    print_tables(design_tables(design, unit), [*notes, *([f"written: {written}"] if written else [])])


def _show_replay(file: Path, compare: Compared, x_column: str | None, as_json: bool) -> None:
    from tasks.fit.output.design_tables import replay_tables
    from tasks.records.json_files import to_json
    from tasks.study.params import Stopping

    stopping = Stopping(rule="dominated", compare=(compare,))
    result = _replay_of(file, compare, x_column, stopping)
    if as_json:
        print_json(to_json(result))
        return
    notes = [f"mean regret {result.regret:.4f} (largest {result.worst:.4f}) at {result.cost:.0%} of the cost"]
    notes.append(f"stopped below a chance of {stopping.chance:g}, judged from {stopping.first:.0%} of the resource on")
    print_tables(replay_tables(result), notes)


def _replay_of(file: Path, compare: Compared, x_column: str | None, stopping: Stopping) -> Replay:
    from tasks.fit.data.groups import Columns, groups_of, resolve, reuse_groups
    from tasks.fit.data.table import read_table
    from tasks.fit.design.replay import replay, size_comparisons, tau_comparisons, variant_comparisons

    table = read_table(file)
    if compare == "tau":
        comparisons = tau_comparisons(reuse_groups(table))
    else:
        groups = groups_of(table, resolve(table, Columns(x=x_column))[0])
        by_size = [entry for points in groups.values() for entry in size_comparisons(points, stopping)]
        comparisons = by_size if compare == "size" else variant_comparisons(groups)
    if not comparisons:
        raise InputError(f"{file}: no two candidates to compare by {compare}")
    return replay(comparisons, stopping)
