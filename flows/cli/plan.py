"""`rlscale plan`: what a budget buys, and what a whole study costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.column_options import (
    FileArgument,
    LawOption,
    PlotOption,
    VariantOption,
    XOption,
    fitted,
    law_for,
    one_group,
    parse_size,
    print_tables,
    study_points_path,
)
from flows.cli.options import DEFAULT_PARAMS, JsonOption, ParamsOption, print_json
from tasks.study.errors import InputError

if TYPE_CHECKING:
    from tasks.fit.data.measurements import Measurements
    from tasks.fit.forecasting.plan import PlanSettings
    from tasks.fit.uncertainty.inference import BootstrappedFit


def plan(
    file: FileArgument = None,
    budget: Annotated[str | None, typer.Option("--budget", help="2000gpu-h, 1e22flop or 30000usd.")] = None,
    grid: Annotated[
        Path | None, typer.Option("--grid", help="Cost of a whole study instead.", metavar="PARAMS")
    ] = None,
    gpu: Annotated[str, typer.Option("--gpu", help="Name in the GPU table.")] = "h100",
    gpu_table: Annotated[Path | None, typer.Option("--gpu-table", help="Own GPU table (TOML).")] = None,
    price: Annotated[float | None, typer.Option("--price", help="USD per GPU-hour.")] = None,
    mfu: Annotated[float, typer.Option("--mfu", help="Share of peak in training and log-prob passes.")] = 0.35,
    mfu_rollout: Annotated[float, typer.Option("--mfu-rollout", help="Share of peak in generation.")] = 0.12,
    sizes: Annotated[str | None, typer.Option("--sizes", help="N by commas, e.g. 7B,72B; default: the file's.")] = None,
    target_loss: Annotated[float | None, typer.Option("--target-loss", help="Cheapest way to this loss.")] = None,
    problems: Annotated[
        str | None, typer.Option("--problems", help="Unique problems at hand, e.g. 54k.", metavar="NUMBER")
    ] = None,
    reuse: Annotated[Path | None, typer.Option("--reuse", help="Table of the reuse axis, for the limit.")] = None,
    prompts: Annotated[int | None, typer.Option("--prompts", min=1, help="Prompts per step.")] = None,
    completions: Annotated[int, typer.Option("--completions", min=1, help="Completions per prompt.")] = 8,
    tokens: Annotated[float | None, typer.Option("--tokens", help="Mean tokens of prompt and completion.")] = None,
    eval_problems: Annotated[int, typer.Option("--eval-problems", min=0, help="Held-out problems.")] = 500,
    law: LawOption = None,
    x_column: XOption = None,
    variant: VariantOption = None,
    params: ParamsOption = DEFAULT_PARAMS,
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> None:
    """What a budget buys: steps, full cost and predicted loss by size, the best size, the way to a target loss.

    Tokens per step come from the file where it holds compute, else 1,000 per completion are assumed. Default law as in
    forecast.
    """
    from tasks.costs.gpu_table import find_gpu
    from tasks.costs.step_cost import Efficiency, parse_budget

    machine, efficiency = find_gpu(gpu, gpu_table, price), Efficiency(mfu, mfu_rollout)
    if grid is not None:
        _show_grid(grid, machine, efficiency, tokens, (plot, as_json))
        return
    if budget is None:
        raise InputError("plan: give --budget, or --grid for a whole study")
    from tasks.fit.data.table import Columns
    from tasks.fit.forecasting.plan import PlanSettings, make_plan
    from tasks.fit.forecasting.workload import workload_of
    from tasks.fit.solver.estimate import Options

    amount = parse_budget(budget)
    name, points = one_group(file or study_points_path(params), Columns(x=x_column), False, variant)
    chosen = _sizes(sizes, points)
    work, assumed = workload_of(points, prompts, completions, tokens, eval_problems)
    setting, options = PlanSettings(work, machine, efficiency), Options()
    fit = fitted(points, law or law_for(points, chosen, options), options)
    result = make_plan(fit, chosen, amount, setting, target_loss)
    count = None if problems is None else round(parse_size(problems, "--problems"))
    need = _reuse_need(result.options[0].steps, count, reuse, setting)
    if plot is not None:
        from tasks.fit.output.plot import draw_plan, save

        save(draw_plan(result.options, result.axis), plot)
    _show_plan(f"{name}: what {amount} buys on {machine.name}", result, need, assumed, (setting, fit), as_json)


def _show_plan(
    title: str, result: Any, need: Any, assumed: list[str], context: tuple[PlanSettings, BootstrappedFit], as_json: bool
) -> None:
    from tasks.fit.output.tables import plan_tables
    from tasks.records.json_files import to_json

    setting, fit = context
    if as_json:
        facts = {"law": fit.result.law.name, "setting": setting, "assumed": assumed, "reuse": need}
        print_json(to_json({**vars(result), **facts}))
        return
    print_tables(plan_tables(result.options, result.axis, result.targets, title))
    gpu = setting.gpu
    print(f"- law {fit.result.law.name}; {gpu.usd_per_hour:g} USD per GPU-hour (table of {gpu.as_of})")
    for note in [*assumed, *result.notes]:
        print(f"- {note}")
    if need is not None:
        verdict = "enough" if need.enough else "not enough"
        print(f"- {need.problems} problems are {verdict} for the best choice: each is seen {need.tau:.3g} times")
        print(
            f"- reuse is harmless up to {need.limit:g} times ({need.source}), which feeds {need.steps_at_limit} steps"
        )


def _reuse_need(steps: int, problems: int | None, reuse: Path | None, setting: PlanSettings) -> Any:
    if problems is None:
        return None
    from tasks.fit.forecasting.plan import reuse_need
    from tasks.fit.forecasting.workload import reuse_limit

    limit, source = reuse_limit(reuse)
    return reuse_need(steps, problems, setting.work, limit, source)


def _show_grid(grid: Path, gpu: Any, efficiency: Any, tokens: float | None, output: tuple[Path | None, bool]) -> None:
    from tasks.costs.grid_cost import by_size, grid_cost
    from tasks.fit.output.tables import grid_tables
    from tasks.records.json_files import to_json
    from tasks.study.params import load_params

    plot, as_json = output
    costs = grid_cost(load_params(grid), gpu, efficiency, tokens)
    if plot is not None:
        from tasks.fit.output.plot import draw_grid, save

        save(draw_grid(by_size(costs)), plot)
    if as_json:
        print_json(to_json(costs))
        return
    print_tables(grid_tables(costs, f"{grid}: the whole study on {gpu.name}"))
    print(f"- {costs.tokens:.0f} tokens per completion with its prompt; longest run {costs.longest_hours:.3g} h")


def _sizes(given: str | None, points: Measurements) -> list[float]:
    if given is None:
        return [float(size) for size in points.sizes]
    return [parse_size(text, "--sizes") for text in given.split(",")]
