"""Results as tables of text: (title, column names, rows), printed by the command line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tasks.costs.gpu_table import Gpu
from tasks.costs.grid_cost import GridCost, by_size
from tasks.costs.units import short_count
from tasks.fit.forecasting.plan import Plan
from tasks.fit.forecasting.trajectory import RunForecast
from tasks.fit.forecasting.workload import ReuseNeed
from tasks.fit.summary import Summary
from tasks.fit.validation.benchmark_gain import Gain, Trend
from tasks.records.findings import Finding, ReuseEffect
from tasks.records.fits import BackTest, Estimate, ForecastRecord, WindowFit
from tasks.records.format import bounds, number

_OPEN = "not determined"

TextTable = tuple[str, Sequence[str], Iterable[Sequence[Any]]]


def _value_and_bounds(estimate: Estimate | None) -> tuple[str, str]:
    """Two cells, a dash where there is no estimate."""
    return ("–", "") if estimate is None else (number(estimate.value), bounds(estimate))


def fit_tables(summary: Summary) -> list[TextTable]:
    """The tables of `rlscale fit` for one group."""
    fit = summary.fit
    title = f"{summary.group}, {fit.resource}: {fit.equation}  ({fit.points} points, {fit.runs} runs)"
    coefficients = [
        (
            name,
            number(value.value, 5),
            bounds(value, missing=_OPEN),
            bounds(fit.profile[name], missing=_OPEN) if name in fit.profile else "",
        )
        for name, value in fit.coefficients.items()
    ]
    scores = [("R2 (linear loss)", number(fit.r2_linear, 5), "", ""), ("R2 (log loss)", number(fit.r2_log, 5), "", "")]
    tables: list[TextTable] = [
        (title, ("", "estimate", "95 % interval", "95 % profile"), [*coefficients, *scores]),
        (
            "learning efficiency",
            ("size", "k (law)", "95 % interval", "k (alone)", "95 % interval", "runs"),
            [(r.size, number(r.k.value), bounds(r.k), *_value_and_bounds(r.k_alone), r.runs) for r in fit.by_size],
        ),
    ]
    if summary.published:
        tables.append(_published_table(summary))
    rows = [
        (
            r.law,
            r.parameters,
            number(r.r2_linear, 5),
            number(r.rmse_log),
            number(r.later_error, 3),
            number(r.aicc, 6),
            number(r.bic, 6),
        )
        for r in summary.rivals
    ]
    names = ("law", "parameters", "R2", "RMSE log10 L", "later steps", "AICc", "BIC")
    tables.append(("laws on the same points; error on later steps from the earlier ones", names, rows))
    if summary.held_out is not None:
        tables.append(held_out_table([summary.held_out], "largest size held out, nothing refitted"))
    if summary.ahead:
        tables.append(_ahead_table(summary.ahead))
    if summary.windows:
        tables.append(_windows_table(summary.windows))
    return tables


def _ahead_table(tests: list[BackTest]) -> TextTable:
    parts = {"last_50": "last 50 %", "last_75": "last 75 %"}
    rows = []
    for t in tests:
        shares = (f"{share:.2f}" for share in t.coverage.values())
        rows.append((parts[t.kind], number(t.rmse_log, 3), number(t.bias_log, 3), number(t.r2_linear, 4), *shares))
    return "end of every trajectory held out", ("", "RMSE log10 L", "bias", "R2", "in 50 %", "in 80 %", "in 95 %"), rows


def _windows_table(windows: list[WindowFit]) -> TextTable:
    names = list(windows[0].coefficients)
    rows = [
        (w.window, *(number(w.coefficients[name]) for name in names), number(w.k_largest), number(w.rmse_log))
        for w in windows
    ]
    return "fitted to a part of every trajectory", ("steps", *names, "k (largest)", "RMSE log10 L"), rows


def _published_table(summary: Summary) -> TextTable:
    rows = []
    for row in summary.published:
        rows += [
            (row.sizes, "Kmax", number(row.kmax, 6), number(row.kmax_published, 6)),
            (row.sizes, "N0", number(row.n0, 6), number(row.n0_published, 6)),
            (row.sizes, "R2", number(row.r2, 5), number(row.r2_published, 5)),
        ]
    return "published objective (squared error in L)", ("sizes", "", "fitted here", "published"), rows


def held_out_table(tests: list[BackTest], title: str) -> TextTable:
    """Back-tests with their last point."""
    rows = [
        (
            t.law,
            t.held_out,
            number(t.rmse_log, 3),
            number(t.bias_log, 3),
            number(t.r2_linear, 4),
            f"{t.coverage.get('95', float('nan')):.2f}",
            number(t.last_measured, 3),
            number(t.last_forecast, 3),
            f"[{number(t.last_low, 3)}, {number(t.last_high, 3)}]",
        )
        for t in tests
    ]
    names = ("law", "held out", "RMSE log10 L", "bias", "R2", "in 95 %", "last loss", "forecast", "95 % interval")
    return title, names, rows


def notes_of(summary: Summary) -> list[str]:
    """Sentences below the tables: flags, saturation, choice of law."""
    notes = [f"{flag.code}: {flag.text}" for flag in summary.fit.flags]
    test = summary.saturation
    if test is not None:
        notes.append(f"k grows with N: {test.growth} (p = {test.growth_p:.2g})")
        notes.append(f"k saturates: {test.verdict} ({test.reason})")
    if summary.choice is not None:
        errors = ", ".join(f"{name} {number(error, 3)}" for name, error in summary.choice.errors.items())
        notes.append(f"law for unseen sizes, picked without the largest: {summary.choice.chosen} (log10 L: {errors})")
    return notes


def reuse_table(effects: list[ReuseEffect], group: str) -> TextTable:
    """Effects of data reuse."""
    rows = [
        (
            f"{e.tau:g}",
            number(e.overall.value, 3),
            bounds(e.overall, 3),
            number(e.final.value, 3),
            bounds(e.final, 3),
            number(e.ratio.value, 4),
            bounds(e.ratio, 4),
        )
        for e in effects
    ]
    names = ("tau", "d(tau)", "95 % interval", "last fifth", "95 % interval", "loss ratio", "95 % interval")
    return f"{group}: effect of data reuse on log10 L, against tau = 1", names, rows


def gain_tables(gains: list[Gain], trends: list[Trend]) -> list[TextTable]:
    """Gains by benchmark and size, one row per benchmark."""
    sizes = list(dict.fromkeys(row.size for row in sorted(gains, key=lambda row: row.n)))
    cells = {(row.benchmark, row.size): f"{row.before:.2f} -> {row.after:.2f}" for row in gains}
    rows = [
        (
            t.benchmark,
            "in" if t.in_domain else "out",
            *(cells.get((t.benchmark, size), "") for size in sizes),
            f"{t.mean_gain:+.3f}",
            f"{t.slope_per_decade:+.3f}",
        )
        for t in trends
    ]
    names = ("benchmark", "domain", *sizes, "mean gain", "gain per decade of N")
    return [("test loss before -> after training (best over steps and runs)", names, rows)]


def findings_table(findings: list[Finding]) -> TextTable:
    """The published claims."""
    rows = [
        (f.claim, f.variant, f.statement, number(f.effect.value), bounds(f.effect), f.unit, f.verdict) for f in findings
    ]
    return "published claims", ("claim", "variant", "statement", "effect", "95 % interval", "unit", "verdict"), rows


def forecast_table(row: ForecastRecord) -> TextTable:
    """One forecast."""
    rows = [
        (f"{level} %", f"[{number(low)}, {number(high)}]")
        for level, low, high in ((50, row.low50, row.high50), (80, row.low80, row.high80), (95, row.low95, row.high95))
    ]
    title = (
        f"{row.variant}: loss of N = {short_count(row.n)} at {row.resource} = {row.x:.4g} by {row.law}: {row.loss:.4f}"
    )
    return title, ("interval", "loss"), rows


def trajectory_table(row: RunForecast) -> TextTable:
    """The rest of a run."""
    title = f"{row.run}: {row.seen} points so far, k = {row.k.value:.4f} [{row.k.low95:.4f}, {row.k.high95:.4f}]"
    rows = []
    for i, (x, loss) in enumerate(zip(row.resource, row.loss, strict=True)):
        chance = "" if row.chance is None else f"{row.chance[i]:.2f}"
        rows.append((number(x), number(loss.value), *(_span(loss, level) for level in ("50", "80", "95")), chance))
    reach = "" if row.target is None else f"P(loss <= {row.target:g})"
    return title, ("X", "loss", "50 %", "80 %", "95 %", reach), rows


def _span(loss: Any, level: str) -> str:
    return f"[{getattr(loss, f'low{level}'):.4f}, {getattr(loss, f'high{level}'):.4f}]"


def plan_tables(plan: Plan, title: str) -> list[TextTable]:
    """Options under the budget, the budget axis, ways to the target."""
    rows = [
        (
            o.size,
            o.steps,
            number(o.cost.total_flops, 3),
            number(o.cost.gpu_hours),
            f"{o.cost.usd:,.0f}",
            o.cost.gpus,
            number(o.cost.hours, 3),
            number(o.loss),
            bounds(Estimate(o.loss, o.low, o.high)),
            f"{o.chance_best:.2f}",
        )
        for o in plan.options
    ]
    names = ("size", "steps", "FLOPs", "GPU-h", "USD", "GPUs", "hours", "loss", "95 % interval", "P(best)")
    tables: list[TextTable] = [(title, names, rows)]
    if plan.axis:
        line = [(number(a.budget), a.size or "none", a.steps, number(a.loss)) for a in plan.axis]
        tables.append((f"best size by budget ({plan.axis[0].unit})", ("budget", "size", "steps", "loss"), line))
    if plan.targets:
        ways = [(t.size, *_way(t.steps, t.cost), *_way(t.steps_80, t.cost_80)) for t in plan.targets]
        columns = ("size", "steps", "GPU-h", "USD", "steps at 80 %", "GPU-h", "USD")
        tables.append(("ways to the target loss, cheapest first", columns, ways))
    return tables


def _way(steps: int | None, cost: Any) -> tuple[str, str, str]:
    return ("out of reach", "", "") if cost is None else (str(steps), number(cost.gpu_hours), f"{cost.usd:,.0f}")


def plan_notes(plan: Plan, law_reason: str, gpu: Gpu, assumed: list[str], need: ReuseNeed | None) -> list[str]:
    """Sentences below the tables: law, price, assumptions, and whether the problems suffice."""
    notes = [law_reason, f"{gpu.usd_per_hour:g} USD per GPU-hour (table of {gpu.as_of})", *assumed, *plan.notes]
    if need is None:
        return notes
    verdict = "enough" if need.enough else "not enough"
    return [
        *notes,
        f"{need.problems} problems are {verdict} for the best choice: each is seen {need.tau:.3g} times",
        f"reuse is harmless up to {need.limit:g} times ({need.source}), which feeds {need.steps_at_limit} steps",
    ]


def grid_tables(costs: GridCost, title: str) -> list[TextTable]:
    """A study's cost by size, and in total."""
    rows = [
        (size, runs, number(flops, 3), number(hours), f"{usd:,.0f}", gpus)
        for size, runs, flops, hours, usd, gpus in by_size(costs)
    ]
    total = ("total", len(costs.runs), number(costs.total_flops, 3), number(costs.gpu_hours), f"{costs.usd:,.0f}", "")
    single = [
        (
            r.run_id,
            number(r.cost.total_flops, 3),
            number(r.cost.gpu_hours),
            f"{r.cost.usd:,.0f}",
            r.cost.gpus,
            number(r.cost.hours, 3),
        )
        for r in costs.runs
    ]
    return [
        (title, ("size", "runs", "FLOPs", "GPU-h", "USD", "GPUs per run"), [*rows, total]),
        ("each run", ("run", "FLOPs", "GPU-h", "USD", "GPUs", "hours"), single),
    ]
