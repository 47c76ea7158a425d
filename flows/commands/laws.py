"""`rlscale fit`, `rlscale forecast` and `rlscale plan`: scaling laws from a study or from anybody's table.

With a file these commands are pure: no params, no Prefect, no torch. Without one they read `data/fit/points.parquet` of
the study, and `fit` first brings the stage up to date.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.options import DEFAULT_PARAMS, JsonOption, ParamsOption, print_json, print_table
from tasks.errors import InputError

if TYPE_CHECKING:
    from tasks.fit.estimate import Options
    from tasks.fit.inference import Uncertain
    from tasks.fit.measurements import Measurements
    from tasks.fit.plan import Setting
    from tasks.fit.table import Columns, Table
    from tasks.fit.tables import Text

FileArgument = Annotated[Path | None, typer.Argument(help="CSV or parquet file; default: the study's own points.")]
NOption = Annotated[str | None, typer.Option("--n-column", help="Column of the model size N.", metavar="COLUMN")]
FitN = Annotated[str | None, typer.Option("--n", "--n-column", help="Column of the model size N.", metavar="COLUMN")]
XOption = Annotated[str | None, typer.Option("--x-column", help="Column of the resource X.", metavar="COLUMN")]
FitX = Annotated[str | None, typer.Option("--x", "--x-column", help="Column of the resource X.", metavar="COLUMN")]
LossOption = Annotated[str | None, typer.Option("--loss", help="Column of the loss in (0, 1].", metavar="COLUMN")]
RunOption = Annotated[str | None, typer.Option("--run-column", help="Column of the run.", metavar="COLUMN")]
FitRun = Annotated[str | None, typer.Option("--run", "--run-column", help="Column of the run.", metavar="COLUMN")]
TrialsOption = Annotated[str | None, typer.Option("--trials", help="Column of graded answers.", metavar="COLUMN")]
GroupOption = Annotated[str | None, typer.Option("--group", help="Splitting column, e.g. variant.", metavar="COLUMN")]
LawOption = Annotated[str | None, typer.Option("--law", help="Name of the law; default: see above.")]
ObjectiveOption = Annotated[str, typer.Option("--objective", help="log, linear (as published), binomial or huber.")]
SkipOption = Annotated[int, typer.Option("--skip-steps", min=0, help="Leave out the first steps of every run.")]
WeightOption = Annotated[bool, typer.Option("--equal-weight", help="Give every size the same total weight.")]
DrawsOption = Annotated[int, typer.Option("--draws", min=100, help="Bootstrap draws.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of the draws.")]
MixedOption = Annotated[bool, typer.Option("--allow-mixed", help="Pool runs with different protocols.")]
PlotOption = Annotated[Path | None, typer.Option("--plot", help="Draw it: .svg, .png or .pdf.", metavar="FILE")]
VariantOption = Annotated[str | None, typer.Option("--variant", help="Which group of the file; default: the first.")]


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(fit)
    app.command()(forecast)
    app.command()(plan)


def fit(
    file: FileArgument = None,
    n: FitN = None,
    x: FitX = None,
    loss: LossOption = None,
    run: FitRun = None,
    trials: TrialsOption = None,
    group: GroupOption = None,
    law: LawOption = None,
    objective: ObjectiveOption = "log",
    skip_steps: SkipOption = 0,
    equal_weight: WeightOption = False,
    draws: DrawsOption = 2000,
    seed: SeedOption = 0,
    allow_mixed: MixedOption = False,
    params: ParamsOption = DEFAULT_PARAMS,
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit scaling laws to a table, or to the study's own points (the stage).

    Default law: saturating. Tables with a column tau (no size) give the effect of data reuse, tables with a column
    benchmark the gain by benchmark.
    """
    if file is None:
        _fit_stage(params, plot, as_json)
        return
    from tasks.fit.estimate import Options
    from tasks.fit.table import Columns, read_table

    table = read_table(file)
    options = Options(objective, skip_steps, equal_weight, draws, seed)
    if table.kind == "benchmarks":
        _show_gains(table, plot, as_json)
    elif table.kind == "reuse":
        _show_reuse(table, loss, options, plot, as_json)
    else:
        groups = _groups(table, Columns(n, x, loss, run, trials, group), allow_mixed)
        _show_fits(groups, law or "saturating", options, plot, as_json)


def _fit_stage(params_file: Path, plot: Path | None, as_json: bool) -> None:
    import contextlib
    import sys

    from flows.run import run_stage
    from tasks.fit.results import Estimate, Finding, read_rows
    from tasks.layout import Layout
    from tasks.params import load_params

    with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
        run_stage("fit", params_file)
    folder = Layout.of(load_params(params_file)).stage("fit")
    fits = [row for row in read_rows(folder, "fits.json", "fits") if row["primary"]]
    findings = read_rows(folder, "findings.json", "findings")
    if plot is not None:
        from tasks.fit.study import draw_study

        draw_study(load_params(params_file), plot)
    if as_json:
        print_json({"fits": fits, "findings": findings})
        return
    for row in fits:
        named = ", ".join(f"{name} = {value['value']:.4g}" for name, value in row["coefficients"].items())
        print(f"{row['variant']} {row['resource']}: {row['law']}, {named}, R2 = {row['r2_linear']:.4f}")
    from tasks.fit.tables import findings_table

    rows = [Finding(**(row | {"effect": Estimate(**row["effect"])})) for row in findings]
    print_table(*findings_table(rows))
    print(f"files: {folder}")


def _groups(table: Table, columns: Columns, allow_mixed: bool) -> list[tuple[str, Measurements]]:
    """Every group along every resource."""
    from tasks.fit.table import groups_of, resolve

    return [item for named in resolve(table, columns) for item in groups_of(table, named, allow_mixed).items()]


def _show_fits(
    groups: list[tuple[str, Measurements]], law: str, options: Options, plot: Path | None, as_json: bool
) -> None:
    from tasks.fit.results import plain
    from tasks.fit.summary import summarise

    summaries = [summarise(points, name, law, options) for name, points in groups]
    if plot is not None:
        _plot_fits(groups, law, options, plot)
    if as_json:
        print_json(plain(summaries))
        return
    from tasks.fit.tables import fit_tables, notes_of

    for summary in summaries:
        _print(fit_tables(summary))
        for note in notes_of(summary):
            print(f"- {note}")
        print()


def _plot_fits(groups: list[tuple[str, Measurements]], law: str, options: Options, plot: Path) -> None:
    from tasks.fit.plot import draw_fits, save

    save(draw_fits([(name, _fitted(points, law, options)) for name, points in groups]), plot)


def _show_reuse(table: Table, loss: str | None, options: Options, plot: Path | None, as_json: bool) -> None:
    from tasks.fit.findings import reuse_is_harmless
    from tasks.fit.results import plain
    from tasks.fit.reuse_effect import reuse_effects
    from tasks.fit.table import reuse_groups
    from tasks.fit.tables import findings_table, reuse_table

    groups = reuse_groups(table, loss)
    effects = {name: reuse_effects(points, options, name) for name, points in groups.items()}
    findings = [finding for name, rows in effects.items() for finding in reuse_is_harmless(rows, name)]
    if plot is not None:
        from tasks.fit.plot import draw_reuse, save

        save(draw_reuse(effects), plot)
    if as_json:
        print_json(plain({"reuse": effects, "findings": findings}))
        return
    _print([*(reuse_table(rows, name) for name, rows in effects.items()), findings_table(findings)])
    for finding in findings:
        print(f"- {finding.key}: {finding.reason}")
    if all(len(points.runs) == len(points.sizes) for points in groups.values()):
        print("- one run per tau: intervals come from blocks of each run and hold no run-to-run variation")


def _show_gains(table: Table, plot: Path | None, as_json: bool) -> None:
    from tasks.fit.benchmark_gain import gains
    from tasks.fit.results import plain
    from tasks.fit.tables import gain_tables

    rows, trends = gains(table)
    if plot is not None:
        from tasks.fit.plot import draw_gains, save

        save(draw_gains(rows), plot)
    if as_json:
        print_json(plain({"gains": rows, "trends": trends}))
        return
    _print(gain_tables(rows, trends))


def forecast(
    file: FileArgument = None,
    n: Annotated[float | None, typer.Option("--n", help="Model size N, parameters.")] = None,
    x: Annotated[float | None, typer.Option("--x", help="Resource X, in the unit of the file's column.")] = None,
    run: Annotated[str | None, typer.Option("--run", help="Forecast the rest of this run.", metavar="ID")] = None,
    target_loss: Annotated[float | None, typer.Option("--target-loss", help="With --run: chance to reach it.")] = None,
    law: LawOption = None,
    n_column: NOption = None,
    x_column: XOption = None,
    loss: LossOption = None,
    run_column: RunOption = None,
    trials: TrialsOption = None,
    group: GroupOption = None,
    variant: VariantOption = None,
    objective: ObjectiveOption = "log",
    draws: DrawsOption = 2000,
    seed: SeedOption = 0,
    allow_mixed: MixedOption = False,
    params: ParamsOption = DEFAULT_PARAMS,
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict the loss of a size at a resource, or the rest of a running trajectory, with honest intervals.

    Default law: saturating for sizes in the file; for others the one whose forecasts of each larger size from the
    smaller ones erred least.
    """
    from tasks.fit.estimate import Options
    from tasks.fit.table import Columns

    options = Options(objective, draws=draws, seed=seed)
    columns = Columns(n_column, x_column, loss, run_column, trials, group)
    name, points = _one_group(file or _own_points(params), columns, allow_mixed, variant)
    if run is not None:
        _show_trajectory(points, run, law, options, (x, target_loss), (plot, as_json))
        return
    if n is None or x is None:
        raise InputError("forecast: give --n and --x, or --run for a running trajectory")
    from tasks.fit.analyse import forecast_at
    from tasks.fit.results import plain
    from tasks.fit.tables import forecast_table

    uncertain = _fitted(points, law or _law_for(points, [n], options), options)
    row = forecast_at(uncertain, name, n, x)
    if plot is not None:
        from tasks.fit.plot import draw_forecast, save

        save(draw_forecast(uncertain, row), plot)
    if as_json:
        print_json(plain(row))
        return
    _print([forecast_table(row)])
    for note in row.warnings:
        print(f"- {note}")


def _show_trajectory(
    points: Measurements,
    run: str,
    law: str | None,
    options: Options,
    aim: tuple[float | None, float | None],
    output: tuple[Path | None, bool],
) -> None:
    import numpy as np

    from tasks.fit.laws import law_named
    from tasks.fit.results import plain
    from tasks.fit.tables import trajectory_table
    from tasks.fit.trajectory import forecast_run

    x, target = aim
    plot, as_json = output
    if x is not None and x <= 0:
        raise InputError(f"--x: expected a positive number, found {x:g}")
    prior = None if law is None else law_named(law)
    row = forecast_run(points, run, prior, options, None if x is None else np.array([x]), target)
    if plot is not None:
        from tasks.fit.plot import draw_trajectory, save

        save(draw_trajectory(points, row), plot)
    if as_json:
        print_json(plain(row))
        return
    _print([trajectory_table(row)])
    print(f"- prior: {row.prior}")


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
    sizes: Annotated[str | None, typer.Option("--sizes", help="N by commas; default: the file's.")] = None,
    target_loss: Annotated[float | None, typer.Option("--target-loss", help="Cheapest way to this loss.")] = None,
    problems: Annotated[int | None, typer.Option("--problems", help="Unique problems at hand.")] = None,
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
    from tasks.fit.cost import Efficiency
    from tasks.fit.hardware import find_gpu

    machine, efficiency = find_gpu(gpu, gpu_table, price), Efficiency(mfu, mfu_rollout)
    if grid is not None:
        _show_grid(grid, machine, efficiency, tokens, (plot, as_json))
        return
    if budget is None:
        raise InputError("plan: give --budget, or --grid for a whole study")
    from tasks.fit.cost import parse_budget
    from tasks.fit.estimate import Options
    from tasks.fit.plan import Setting
    from tasks.fit.table import Columns
    from tasks.fit.workload import workload_of

    amount = parse_budget(budget)
    name, points = _one_group(file or _own_points(params), Columns(x=x_column), False, variant)
    chosen = _sizes(sizes, points)
    work, assumed = workload_of(points, prompts, completions, tokens, eval_problems)
    setting, options = Setting(work, machine, efficiency), Options()
    uncertain = _fitted(points, law or _law_for(points, chosen, options), options)
    from tasks.fit.plan import make_plan

    result = make_plan(uncertain, chosen, amount, setting, target_loss)
    need = _reuse_need(result.options[0].steps, problems, reuse, setting)
    if plot is not None:
        from tasks.fit.plot import draw_plan, save

        save(draw_plan(result.options, result.axis), plot)
    _show_plan(f"{name}: what {amount} buys on {machine.name}", result, need, assumed, (setting, uncertain), as_json)


def _show_plan(
    title: str, result: Any, need: Any, assumed: list[str], context: tuple[Setting, Uncertain], as_json: bool
) -> None:
    from tasks.fit.results import plain
    from tasks.fit.tables import plan_tables

    setting, uncertain = context
    if as_json:
        facts = {"law": uncertain.fitted.law.name, "setting": setting, "assumed": assumed, "reuse": need}
        print_json(plain({**vars(result), **facts}))
        return
    _print(plan_tables(result.options, result.axis, result.targets, title))
    gpu = setting.gpu
    print(f"- law {uncertain.fitted.law.name}; {gpu.usd_per_hour:g} USD per GPU-hour (table of {gpu.as_of})")
    for note in [*assumed, *result.notes]:
        print(f"- {note}")
    if need is not None:
        verdict = "enough" if need.enough else "not enough"
        print(f"- {need.problems} problems are {verdict} for the best choice: each is seen {need.tau:.3g} times")
        print(
            f"- reuse is harmless up to {need.limit:g} times ({need.source}), which feeds {need.steps_at_limit} steps"
        )


def _reuse_need(steps: int, problems: int | None, reuse: Path | None, setting: Setting) -> Any:
    if problems is None:
        return None
    from tasks.fit.plan import reuse_need
    from tasks.fit.workload import reuse_limit

    limit, source = reuse_limit(reuse)
    return reuse_need(steps, problems, setting.work, limit, source)


def _show_grid(grid: Path, gpu: Any, efficiency: Any, tokens: float | None, output: tuple[Path | None, bool]) -> None:
    from tasks.fit.grid_cost import by_size, grid_cost
    from tasks.fit.results import plain
    from tasks.fit.tables import grid_tables
    from tasks.params import load_params

    plot, as_json = output
    costs = grid_cost(load_params(grid), gpu, efficiency, tokens)
    if plot is not None:
        from tasks.fit.plot import draw_grid, save

        save(draw_grid(by_size(costs)), plot)
    if as_json:
        print_json(plain(costs))
        return
    _print(grid_tables(costs, f"{grid}: the whole study on {gpu.name}"))
    print(f"- {costs.tokens:.0f} tokens per completion with its prompt; longest run {costs.longest_hours:.3g} h")


def _own_points(params_file: Path) -> Path:
    """The study's points.

    Raises:
        InputError: the fit stage has not run.
    """
    from tasks.layout import Layout
    from tasks.params import load_params

    path = Layout.of(load_params(params_file)).stage("fit") / "points.parquet"
    if not path.is_file():
        raise InputError(f"{path}: no points; run `rlscale fit` first, or name a file")
    return path


def _one_group(file: Path, columns: Columns, allow_mixed: bool, variant: str | None) -> tuple[str, Measurements]:
    """One group along the first resource."""
    from tasks.fit.table import groups_of, read_table, resolve

    table = read_table(file)
    if table.kind != "scaling":
        raise InputError(f"{file}: expected points of a scaling law (size, resource, loss), found a {table.kind} table")
    groups = groups_of(table, resolve(table, columns)[0], allow_mixed)
    if variant is not None and variant not in groups:
        raise InputError(f"{file}: no group {variant!r}, found {', '.join(groups)}")
    name = variant or next(iter(groups))
    return name, groups[name]


def _sizes(given: str | None, points: Measurements) -> list[float]:
    if given is None:
        return [float(size) for size in points.sizes]
    try:
        sizes = [float(text) for text in given.split(",")]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) <= 0:
        raise InputError(f"--sizes {given!r}: expected positive numbers separated by commas, e.g. 7e9,14e9")
    return sizes


def _law_for(points: Measurements, sizes: list[float], options: Options) -> str:
    """saturating where all sizes were fitted, else the law that forecasts unseen sizes best."""
    if all(size in points.sizes for size in sizes):
        return "saturating"
    from tasks.fit.backtest import best_for_unseen

    choice = best_for_unseen(points, options, "")
    return "pivot" if choice is None or choice.chosen is None else choice.chosen


def _fitted(points: Measurements, law: str, options: Options) -> Uncertain:
    from tasks.fit.estimate import fit_law
    from tasks.fit.inference import with_draws
    from tasks.fit.laws import law_named

    return with_draws(fit_law(points, law_named(law), options))


def _print(tables: list[Text]) -> None:
    for title, columns, rows in tables:
        print_table(title, columns, rows)
