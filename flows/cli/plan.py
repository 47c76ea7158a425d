"""`rlscale plan`: what a budget buys, and what a whole study costs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.column_options import (
    FileArgument,
    LawOption,
    OutputOptions,
    VariantOption,
    XOption,
    parse_size,
    print_tables,
    study_points_path,
)
from flows.cli.options import DEFAULT_PARAMS, ParamsOption, option_groups
from tasks.study.errors import InputError

if TYPE_CHECKING:
    from tasks.costs.gpu_table import Gpu
    from tasks.costs.step_cost import Efficiency


@dataclass(frozen=True)
class _HardwareOptions:
    """What runs the study, and how well it is used."""

    gpu: Annotated[str, typer.Option("--gpu", help="Name in the GPU table.")] = "h100"
    gpu_table: Annotated[Path | None, typer.Option("--gpu-table", help="Own GPU table (TOML).")] = None
    price: Annotated[float | None, typer.Option("--price", help="USD per GPU-hour.")] = None
    mfu: Annotated[float, typer.Option("--mfu", help="Share of peak in training and log-prob passes.")] = 0.35
    mfu_rollout: Annotated[float, typer.Option("--mfu-rollout", help="Share of peak in generation.")] = 0.12

    def gpu_and_efficiency(self) -> tuple[Gpu, Efficiency]:
        """The GPU from its table, at this price, and the fractions of its peak."""
        from tasks.costs.gpu_table import find_gpu
        from tasks.costs.step_cost import Efficiency

        return find_gpu(self.gpu, self.gpu_table, self.price), Efficiency(self.mfu, self.mfu_rollout)


@dataclass(frozen=True)
class _StepOptions:
    """One training step, as `tasks.fit.forecasting.workload.workload_of` takes it."""

    prompts: Annotated[int | None, typer.Option("--prompts", min=1, help="Prompts per step.")] = None
    completions: Annotated[int, typer.Option("--completions", min=1, help="Completions per prompt.")] = 8
    tokens: Annotated[float | None, typer.Option("--tokens", help="Mean tokens of prompt and completion.")] = None
    eval_problems: Annotated[int, typer.Option("--eval-problems", min=0, help="Held-out problems.")] = 500


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
    hardware: _HardwareOptions,
    sizes: Annotated[str | None, typer.Option("--sizes", help="N by commas, e.g. 7B,72B; default: the file's.")] = None,
    target_loss: Annotated[float | None, typer.Option("--target-loss", help="Cheapest way to this loss.")] = None,
    problems: Annotated[
        str | None, typer.Option("--problems", help="Unique problems at hand, e.g. 54k.", metavar="NUMBER")
    ] = None,
    reuse: Annotated[Path | None, typer.Option("--reuse", help="Table of the reuse axis, for the limit.")] = None,
    step: _StepOptions,
    law: LawOption = None,
    x_column: XOption = None,
    variant: VariantOption = None,
    params: ParamsOption = DEFAULT_PARAMS,
    output: OutputOptions,
) -> None:
    """What a budget buys: steps, full cost and predicted loss by size, the best size, the way to a target loss.

    Tokens per step come from the file where it holds compute, else 1,000 per completion are assumed. Default law as in
    forecast.
    """
    gpu, efficiency = hardware.gpu_and_efficiency()
    if grid is not None:
        _show_grid(grid, gpu, efficiency, step.tokens, gpus, output)
        return
    if gpus is not None:
        raise InputError("plan: --gpus is for --grid, a whole study")
    if budget is None:
        raise InputError("plan: give --budget, or --grid for a whole study")
    from tasks.costs.step_cost import parse_budget
    from tasks.fit.data.groups import Columns, read_group
    from tasks.fit.forecasting.law_choice import fit_for_sizes
    from tasks.fit.forecasting.plan import PlanSettings, make_plan
    from tasks.fit.forecasting.workload import reuse_need, workload_of
    from tasks.fit.output.plot import draw_plan
    from tasks.fit.output.tables import plan_notes, plan_tables
    from tasks.fit.solver.estimate import Options
    from tasks.fit.validation.reuse_effect import reuse_limit

    amount = parse_budget(budget)
    name, points = read_group(file or study_points_path(params), Columns(x=x_column), variant=variant)
    candidates = (
        [parse_size(text, "--sizes") for text in sizes.split(",")] if sizes is not None else points.sizes.tolist()
    )
    work, assumed = workload_of(points, **vars(step))
    settings = PlanSettings(work, gpu, efficiency)
    fit = fit_for_sizes(points, law, candidates, Options())
    result, need = make_plan(fit, candidates, amount, settings, target_loss), None
    if problems is not None:
        count = round(parse_size(problems, "--problems"))
        need = reuse_need(result.options[0].steps, count, work, *reuse_limit(reuse))
    law_name = fit.result.law.name
    record = {**vars(result), "law": law_name, "setting": settings, "assumed": assumed, "reuse": need}
    tables = plan_tables(result, f"{name}: what {amount} buys on {gpu.name}")
    notes = plan_notes(result, law_name, gpu, assumed, need)
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
    record = asdict(costs)
    if gpus is not None:
        planned = schedule_study(params, costs, gpus)
        record["schedule"] = asdict(planned)
        notes += planned.sentences()
    output.show(record, lambda: draw_grid(by_size(costs)), lambda: print_tables(tables, notes))
