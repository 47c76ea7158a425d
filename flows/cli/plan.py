"""`rlscale plan`: what a budget buys, and what a whole study costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.column_options import (
    ColumnOptions,
    FileArgument,
    FitOptions,
    LawOption,
    MixedOption,
    OutputOptions,
    PageOption,
    VariantOption,
    parse_size,
    print_reading,
    print_tables,
    study_points_path,
)
from flows.cli.cost_options import HardwareOptions, StepOptions
from flows.cli.options import DEFAULT_PARAMS, ParamsOption, option_groups
from tasks.study.errors import InputError

if TYPE_CHECKING:
    from tasks.costs.gpu_table import Gpu
    from tasks.costs.step_time import Efficiency


@option_groups
def plan(
    file: FileArgument = None,
    *,
    budget: Annotated[str | None, typer.Option("--budget", help="2000gpu-h, 1e22flop or 30000usd.")] = None,
    grid: Annotated[
        Path | None, typer.Option("--grid", help="Cost of a whole study instead.", metavar="PARAMS")
    ] = None,
    gpus: Annotated[
        int | None, typer.Option("--gpus", min=1, help="With --grid: when its runs are done on so many GPUs.")
    ] = None,
    hardware: HardwareOptions,
    sizes: Annotated[str | None, typer.Option("--sizes", help="N by commas, e.g. 7B,72B; default: the file's.")] = None,
    target_loss: Annotated[float | None, typer.Option("--target-loss", help="Cheapest way to this loss.")] = None,
    problems: Annotated[
        str | None, typer.Option("--problems", help="Unique problems at hand, e.g. 54k.", metavar="NUMBER")
    ] = None,
    reuse: Annotated[Path | None, typer.Option("--reuse", help="Table of the reuse axis, for the limit.")] = None,
    step: StepOptions,
    law: LawOption = None,
    columns: ColumnOptions,
    variant: VariantOption = None,
    fitting: FitOptions,
    skip_steps: Annotated[int, typer.Option("--skip-steps", min=0, help="Leave out the first steps of every run.")] = 0,
    allow_mixed: MixedOption = False,
    steps_per_point: Annotated[
        int | None, typer.Option("--steps-per-point", min=1, help="Steps between two points, where the file has none.")
    ] = None,
    params: ParamsOption = DEFAULT_PARAMS,
    page: PageOption = None,
    output: OutputOptions,
) -> None:
    """What a budget buys: steps, full cost and predicted loss by size, the best size, the way to a target loss.

    Tokens per step come from the file where it holds compute, else 1,000 per completion are assumed. Default law as in
    forecast.
    """
    gpu, efficiency = hardware.gpu_and_efficiency()
    if grid is not None:
        if page is not None:
            raise InputError("plan: --html shows what a budget buys; it does not go with --grid")
        _show_grid(grid, gpu, efficiency, step.tokens, gpus, output)
        return
    if gpus is not None:
        raise InputError("plan: --gpus is for --grid, a whole study")
    if budget is None:
        raise InputError("plan: give --budget, or --grid for a whole study")
    from tasks.costs.step_cost import parse_budget
    from tasks.fit.data.groups import read_group
    from tasks.fit.forecasting.law_choice import pick_law
    from tasks.fit.forecasting.plan import PlanSettings, make_plan
    from tasks.fit.forecasting.workload import reuse_need, with_steps, workload_of
    from tasks.fit.laws import minimum_points
    from tasks.fit.output.plot import draw_plan
    from tasks.fit.output.tables import plan_notes, plan_tables
    from tasks.fit.solver.estimate import fit_law
    from tasks.fit.uncertainty.inference import with_draws
    from tasks.fit.validation.reuse_effect import reuse_limit

    amount = parse_budget(budget)
    options = fitting.options(skip_steps)
    name, points = read_group(
        file or study_points_path(params), columns.columns(), allow_mixed, variant, minimum_points(law)
    )
    points = with_steps(points, steps_per_point)
    print_reading(points.notes)
    candidates = (
        [parse_size(text, "--sizes") for text in sizes.split(",")] if sizes is not None else points.sizes.tolist()
    )
    work, assumed = workload_of(points, **vars(step))
    settings = PlanSettings(work, gpu, efficiency)
    picked = pick_law(points, law, candidates, options)
    fit = with_draws(fit_law(points, picked.law, options))
    result, need = make_plan(fit, candidates, amount, settings, target_loss), None
    if problems is not None:
        count = round(parse_size(problems, "--problems"))
        need = reuse_need(result.options[0].steps, count, work, *reuse_limit(reuse))
    law_used = {"law": picked.law.name, "law_reason": picked.reason}
    if page is not None:
        from tasks.fit.plan_models import other_gpus, plan_model
        from tasks.report.document import write_plan_page

        others = other_gpus(gpu, hardware.gpu_table)
        model = plan_model(name, fit, picked.reason, candidates, settings, others, assumed, amount)
        write_plan_page(page, f"Plan: {name}", [model])
    assumed = [*efficiency.assumptions(), *assumed]
    record = {**vars(result), **law_used, "setting": settings, "assumed": assumed, "reuse": need}
    tables = plan_tables(result, f"{name}: what {amount} buys on {gpu.name}")
    notes = plan_notes(result, picked.reason, gpu, assumed, need)
    output.show(record, lambda: draw_plan(result.options, result.axis), lambda: print_tables(tables, notes))


def _show_grid(
    grid: Path, gpu: Gpu, efficiency: Efficiency, tokens: float | None, gpus: int | None, output: OutputOptions
) -> None:
    from dataclasses import asdict

    from tasks.costs.grid_cost import by_size, grid_cost
    from tasks.costs.schedule import schedule_study
    from tasks.fit.output.plot import draw_grid
    from tasks.fit.output.tables import grid_tables
    from tasks.study.params import load_params

    params = load_params(grid)
    costs = grid_cost(params, gpu, efficiency, tokens)
    tables = grid_tables(costs, f"{grid}: the whole study on {gpu.name}")
    notes = [f"{costs.tokens:.0f} tokens per completion with its prompt; longest run {costs.longest_hours:.3g} h"]
    notes += efficiency.assumptions()
    record = asdict(costs) | {"assumptions": efficiency.assumptions()}
    if gpus is not None:
        planned = schedule_study(params, costs, gpus)
        record["schedule"] = asdict(planned)
        notes += planned.sentences()
    output.show(record, lambda: draw_grid(by_size(costs)), lambda: print_tables(tables, notes))
