"""A plan's arithmetic against an example worked by hand, and its logic."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.fit_examples import SIZES, pivot_points

from tasks.costs.gpu_table import Gpu, find_gpu, gpus_needed, peak_of_device
from tasks.costs.grid_cost import grid_cost, model_parameters
from tasks.costs.hardware_choice import choose_hardware
from tasks.costs.memory import GIB, Devices, estimate
from tasks.costs.model_shape import ModelShape, published_configs
from tasks.costs.step_cost import Budget, Workload, cost_of, parse_budget, step_flops
from tasks.costs.step_time import Efficiency
from tasks.fit.forecasting.plan import PlanSettings, cost_to_target, make_plan
from tasks.fit.forecasting.workload import reuse_need, workload_of
from tasks.fit.laws import LAWS
from tasks.fit.solver.estimate import Options, fit_law
from tasks.fit.uncertainty.inference import BootstrappedFit, with_draws
from tasks.fit.validation.reuse_effect import reuse_limit
from tasks.study.errors import InputError
from tasks.study.grid import expand_grid
from tasks.study.params import TinyModel, load_params

ROOT = Path(__file__).resolve().parents[1]
GPU = Gpu("test", "a test GPU", 1e15, 80.0, 2.0, "2026-11")
# 10 prompts x 4 completions x 100 tokens = 4,000 tokens a step; 50 held-out problems, one sample each.
WORK = Workload(prompts=10, completions=4, tokens=100.0, eval_problems=50)


def setting() -> PlanSettings:
    return PlanSettings(Workload(tokens=1000.0), GPU, Efficiency(0.4, 0.1))


def fit(law: str = "saturating") -> BootstrappedFit:
    return with_draws(fit_law(pivot_points(noise=0.005), LAWS[law], Options(draws=400)))


def test_flops_of_a_step_are_those_worked_by_hand() -> None:
    flops = step_flops(1e9, WORK)
    # 2 N T = 2 x 1e9 x 4,000 = 8e12; training is three times that; evaluation 2 x 1e9 x 50 x 100 = 1e13.
    assert flops == {"training": 2.4e13, "rollout": 8e12, "old": 8e12, "reference": 8e12, "evaluation": 1e13}


def test_hours_and_money_follow_from_the_seconds_of_the_phases() -> None:
    cost = cost_of(1e9, 1000, WORK, GPU, Efficiency(0.4, 0.1))
    assert cost.total_flops == pytest.approx(5.8e16)
    # 20 bytes a parameter: 20 GB, which fits one GPU.
    assert cost.gpus == 1
    assert cost.hours == pytest.approx(sum(cost.seconds.values()) / 3600)
    assert cost.gpu_hours == pytest.approx(cost.hours)
    assert cost.usd == pytest.approx(2 * cost.gpu_hours)
    two = cost_of(1e9, 1000, WORK, GPU, Efficiency(0.4, 0.1), gpus=2)
    assert two.gpu_hours == pytest.approx(2 * two.hours)


def test_passes_that_are_not_made_cost_nothing() -> None:
    flops = step_flops(1e9, Workload(reference=False, old=False, eval_every=10))
    assert flops["reference"] == flops["old"] == 0.0
    assert flops["evaluation"] == pytest.approx(2 * 1e9 * 500 * 1000 / 10)


@pytest.mark.parametrize(("n", "count"), [(7e9, 4), (14e9, 8), (32e9, 16), (72e9, 32)])
def test_gpus_by_memory_are_those_of_the_published_runs(n: float, count: int) -> None:
    assert gpus_needed(n, find_gpu("h100")) == count


@pytest.mark.parametrize("repository", published_configs())
@pytest.mark.parametrize(("key", "gib"), [("h100", 79.6), ("h200", 140.4)])
def test_gpus_of_a_plan_are_the_fewest_that_the_memory_check_lets_run(repository: str, key: str, gib: float) -> None:
    config, params = published_configs()[repository], load_params(ROOT / "params.paper.yaml")
    shape, size = ModelShape.from_config(config), repository.split("-")[-1]

    def fits(count: int) -> bool:
        devices = Devices(count, 8, True, gib * GIB)
        try:
            hardware = choose_hardware(params, size, shape, devices)
        except InputError:
            return False
        return estimate(params, hardware, shape, devices).needed <= devices.usable

    fewest = next(count for count in (1, 2, 4, 8, 16, 32, 64) if fits(count))
    assert gpus_needed(float(config["parameters"]), find_gpu(key)) == fewest


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("2000gpu-h", 2000, "gpu-h"),
        ("1e22flop", 1e22, "flop"),
        ("30000USD", 3e4, "usd"),
        ("100gpuh", 100, "gpu-h"),
        (" 1.5 GPU hours", 1.5, "gpu-h"),
        ("1e22 FLOPs", 1e22, "flop"),
        ("$5,000", 5000, "usd"),
        ("5000$", 5000, "usd"),
    ],
)
def test_budget_is_read_with_its_unit(text: str, amount: float, unit: str) -> None:
    assert parse_budget(text) == Budget(amount, unit)


@pytest.mark.parametrize("text", ["2000", "gpu-h", "-5usd", "nanflop", "$3gpu-h", "5 apples", "infusd"])
def test_budget_without_amount_or_unit_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="--budget"):
        parse_budget(text)


def test_budget_of_exactly_ten_steps_buys_ten_steps() -> None:
    one = cost_of(1e9, 1, WORK, GPU, Efficiency())
    assert Budget(10 * one.gpu_hours, "gpu-h").steps(one) == 10
    assert Budget(9.99 * one.usd, "usd").steps(one) == 9
    assert Budget(10 * one.total_flops, "flop").steps(one) == 10


def test_plan_spends_the_budget_at_every_size_and_its_chances_sum_to_one() -> None:
    plan = make_plan(fit(), list(SIZES), Budget(500.0, "gpu-h"), setting(), 0.6)
    assert all(row.cost.gpu_hours <= 500.0 for row in plan.options)
    assert sum(row.chance_best for row in plan.options) == pytest.approx(1.0)
    assert plan.options[0].loss == min(row.loss for row in plan.options if row.loss is not None)
    assert plan.options[0].resource == plan.options[0].steps * 512
    budgets = [row.budget for row in plan.axis]
    assert budgets[0] == pytest.approx(500 / 16)
    assert budgets[-1] == pytest.approx(500 * 16)


def test_chance_of_the_best_size_knows_that_hours_are_uncertain_and_flops_are_not() -> None:
    sure, unsure = (PlanSettings(Workload(), GPU, Efficiency(spread=spread)) for spread in (0.0, 1.0))
    fitted = fit()

    def chances(budget: Budget, settings: PlanSettings) -> list[float]:
        return [row.chance_best for row in make_plan(fitted, list(SIZES), budget, settings).options]

    hours, flops = Budget(500.0, "gpu-h"), Budget(1e21, "flop")
    assert max(chances(hours, unsure)) < max(chances(hours, sure))
    assert chances(flops, unsure) == chances(flops, sure)


def test_losses_of_a_plan_fall_with_the_budget() -> None:
    plan = make_plan(fit(), list(SIZES), Budget(2000.0, "gpu-h"), setting())
    losses = [row.loss for row in plan.axis if row.loss is not None]
    assert losses == sorted(losses, reverse=True)


def test_steps_to_a_target_reach_it_and_one_step_less_does_not() -> None:
    fitted = fit()
    row = next(row for row in cost_to_target(fitted, [32e9], 0.65, setting()))
    assert row.steps is not None
    places = np.log10(512.0 * np.array([row.steps, row.steps - 1]))
    at, before = 10 ** fitted.result.parameters.predict([32e9, 32e9], places)
    assert at <= 0.65 * (1 + 1e-6)
    assert before > 0.65 * (1 - 1e-3)
    assert row.steps_80 is not None
    assert row.steps_80 >= row.steps


def test_target_no_size_can_reach_is_marked_out_of_reach() -> None:
    rows = cost_to_target(fit(), [0.5e9], 0.05, setting())
    assert rows[0].steps is None
    assert rows[0].cost is None


def test_budget_below_one_step_of_every_size_is_refused() -> None:
    with pytest.raises(InputError, match="does not buy one step"):
        make_plan(fit(), list(SIZES), Budget(1e-9, "gpu-h"), setting())


def test_unseen_size_is_planned_by_a_law_that_forecasts() -> None:
    plan = make_plan(fit("pivot"), [72e9, 140e9], Budget(2000.0, "gpu-h"), setting())
    assert {row.size for row in plan.options} == {"72B", "140B"}
    assert any("above the largest" in note for row in plan.options for note in row.warnings)


def test_reuse_need_counts_how_often_a_problem_is_seen() -> None:
    need = reuse_need(1000, 5120, Workload(prompts=512), 25.0, "test")
    assert need.tau == pytest.approx(100.0)
    assert not need.enough
    assert need.steps_at_limit == 250


def test_reuse_limit_defaults_to_the_published_one() -> None:
    assert reuse_limit(None) == (25.0, "published, 7B")


def test_workload_reads_tokens_of_a_step_from_compute() -> None:
    points = pivot_points(steps=30)
    from tasks.fit.data.measurements import measure

    compute = measure(points.n, 6 * points.n * 4.096e6 * points.step, points.loss, step=points.step, unit="compute")
    work, notes = workload_of(compute, None, 8, None, 500)
    assert work.tokens == pytest.approx(1000.0)
    assert work.prompts == 512
    assert any("assumed" in note for note in notes)
    assert workload_of(points, None, 8, None, 500)[0].prompts == 512


def test_gpu_table_can_be_replaced_and_its_errors_are_named(tmp_path: Path) -> None:
    path = tmp_path / "gpus.toml"
    path.write_text('as_of = "2027-01"\n[mine]\npeak_flops = 1e15\nmemory_gb = 100\nusd_per_hour = 1.0\n')
    assert find_gpu("mine", path).as_of == "2027-01"
    assert find_gpu("mine", path, price=9.0).usd_per_hour == 9.0
    with pytest.raises(InputError, match="no GPU 'h100', expected one of mine"):
        find_gpu("h100", path)
    path.write_text("[mine]\npeak_flops = -1\nmemory_gb = 100\nusd_per_hour = 1.0\n")
    with pytest.raises(InputError, match=r"mine\.peak_flops must be a positive number"):
        find_gpu("mine", path)
    with pytest.raises(InputError, match="no such GPU table"):
        find_gpu("mine", tmp_path / "none.toml")


def test_a_devices_peak_is_known_by_the_name_its_driver_gives() -> None:
    assert peak_of_device("NVIDIA H100 80GB HBM3") == find_gpu("h100").peak_flops
    assert peak_of_device("NVIDIA H100 PCIe") is None  # another clock, not in the table


def test_utilization_above_one_is_refused() -> None:
    with pytest.raises(InputError, match="--mfu"):
        Efficiency(mfu=1.2)


def test_grid_cost_sums_its_runs() -> None:
    params = load_params(ROOT / "params.yaml")
    costs = grid_cost(params, GPU, Efficiency())
    assert len(costs.runs) == len(expand_grid(params))
    assert costs.gpu_hours == pytest.approx(sum(row.cost.gpu_hours for row in costs.runs))
    with pytest.raises(InputError, match="--tokens"):
        grid_cost(params, GPU, Efficiency(), tokens=1e6)


def test_parameters_of_a_tiny_model_are_those_worked_by_hand() -> None:
    model = TinyModel(name="3k", hidden=16, layers=1, heads=2, kv_heads=1, ffn=48)
    # hidden 16, 1 layer, 2 heads, 1 kv head, ffn 48: q 272, k and v 136 each, o 256, mlp 2,304, norms 32, last norm 16.
    assert model_parameters(model) == 272 + 2 * 136 + 256 + 2304 + 32 + 16
