"""Plan: what a budget buys, asked in the browser; without a script, the answer at one budget as picture and table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tasks.records.json_files import to_json
from tasks.records.plans import PlanModel, PlansFile
from tasks.report.format import compact, count, fixed, percent
from tasks.report.html import Html, Row, details, joined, paragraph, table, tag
from tasks.report.sections import Section, figure_or_empty, section
from tasks.report.style import sequential_colors
from tasks.report.svg import loss_axis, panels, svg_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CAPTION = (
    "Predicted loss against the budget: a line per size with its 95 % band (where the law's curve lies, not single "
    "runs)."
)
OPTION_COLUMNS = ("size", "loss", "95 % interval", "P(best)", "steps", "GPU-h", "USD", "GPUs")
TARGET_COLUMNS = ("size", "steps", "GPU-h", "steps at 80 %", "GPU-h at 80 %")
UNITS = {"gpu-h": "GPU-hours", "usd": "USD", "flop": "FLOPs"}


def build(plans: Sequence[PlanModel]) -> Section:
    """The section."""
    if not plans:
        return section("plan", "Plan", [paragraph("There is no law along compute to plan with.")])
    figure = draw_plans(plans)
    data = json.dumps(to_json(PlansFile(list(plans))), separators=(",", ":")).replace("<", "\\u003c")
    static = [figure_or_empty(figure, CAPTION, "loss against budget by size"), *(_answer(plan) for plan in plans)]
    ways = table(TARGET_COLUMNS, [], range(1, 5))
    live = [
        _controls(plans),
        Html('<p class="lead" data-answer aria-live="polite"></p>'),
        Html('<div class="chart" data-chart></div>'),
        Html('<p class="tip" data-tip aria-live="polite"></p>'),
        Html('<div class="legend" data-legend role="group" aria-label="Sizes shown"></div>'),
        paragraph(f"{CAPTION} Dashed: the best size at each budget. Dots: measured.", class_="note"),
        tag("div", table(OPTION_COLUMNS, [], range(1, 8)), data_options=""),
        tag("div", joined([tag("h3", "Ways to the target loss"), ways]), data_targets=""),
    ]
    body = [tag("div", joined(static), data_static=""), tag("div", joined(live), data_live="", hidden="")]
    parts = [
        tag("div", joined(body), data_plan=""),
        details("What the plan assumes", joined(_assumptions(plan) for plan in plans)),
        tag("script", Html(data), type="application/json", id="plan-data"),
    ]
    return section("plan", "Plan", parts, {"plan": figure})


def _controls(plans: Sequence[PlanModel]) -> Html:
    """The form; `plan_page.js` reads it by the names of its fields."""
    first = plans[0]
    fields = [
        _field("Variant", _select("variant", {plan.name: plan.name for plan in plans})),
        _field("Budget", _input("budget", f"{first.budget:g}")),
        _field("Unit", _select("unit", UNITS, first.unit)),
        _field("GPU", _select("gpu", {gpu.key: gpu.name for gpu in first.gpus})),
        _field("USD per GPU-hour", _input("price", f"{first.gpus[0].usd_per_hour:g}")),
        _field("Target loss", _input("target", "")),
        _field("Problems at hand", _input("problems", "")),
        _field("Budget, on a logarithmic scale", Html('<input type="range" name="slider" step="0.02">'), "wide"),
    ]
    return tag("form", joined(fields), class_="controls", aria_label="Plan")


def _field(label: str, control: Html, class_: str = "") -> Html:
    return tag("label", joined([label, control], " "), **({"class_": class_} if class_ else {}))


def _input(name: str, value: str) -> Html:
    return Html(f'<input name="{name}" inputmode="decimal" autocomplete="off" value="{value}">')


def _select(name: str, options: dict[str, str], chosen: str = "") -> Html:
    marked = {key: {"selected": ""} if key == chosen else {} for key in options}
    listed = (tag("option", text, value=key, **marked[key]) for key, text in options.items())
    return tag("select", joined(listed, ""), name_=name)


def _answer(plan: PlanModel) -> Html:
    """The answer at the plan's own budget."""
    gpu = plan.gpus[0]
    gpus = dict(zip(plan.labels, gpu.gpus, strict=True))
    rows: list[Row] = [
        [
            row.size,
            fixed(row.loss),
            f"[{fixed(row.low)}, {fixed(row.high)}]",
            percent(row.chance_best, 0),
            count(row.steps),
            compact(row.gpu_hours),
            compact(row.usd),
            str(gpus[row.size]),
        ]
        for row in plan.rows
    ]
    heading = f"{plan.name}: what {compact(plan.budget)} {UNITS[plan.unit]} buy on {gpu.name}"
    return joined([tag("h3", heading), table(OPTION_COLUMNS, rows, range(1, 8))])


def _assumptions(plan: PlanModel) -> Html:
    gpu = plan.gpus[0]
    kept = f"{plan.draws} of {plan.draws_made} draws of the law are in this page"
    lines = [plan.reason, *plan.assumed, f"prices of {gpu.as_of}", kept]
    return joined([tag("h3", plan.name), tag("ul", joined(tag("li", line) for line in lines))])


def draw_plans(plans: Sequence[PlanModel]) -> str:
    """Draws loss against budget, a panel per plan."""
    with panels("plan", 1, len(plans), (4.6 * len(plans), 3.8), sharey=True) as (figure, axes):
        for panel, plan in zip(axes[0], plans, strict=True):
            _draw(panel, plan)
        for panel in axes[0]:
            loss_axis(panel)
        axes[0, 0].set_ylabel("predicted loss L")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 8))
        return svg_of(figure)


def _draw(panel: Axes, plan: PlanModel) -> None:
    for curve, shade in zip(plan.picture, sequential_colors(len(plan.picture)), strict=True):
        panel.fill_between(curve.budgets, curve.low, curve.high, color=shade, alpha=0.13, linewidth=0)
        panel.plot(curve.budgets, curve.loss, color=shade, label=curve.size)
    panel.axvline(plan.budget, color="#7a8490", linestyle=":", linewidth=1)
    panel.set_xscale("log")
    panel.set_title(plan.name)
    panel.set_xlabel(f"{UNITS[plan.unit]}, {plan.gpus[0].name}")
