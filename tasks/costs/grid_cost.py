"""What a whole study costs before it is launched: `rlscale plan --grid params.paper.yaml`."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.costs.gpu_table import Gpu
from tasks.costs.run_cost import model_parameters
from tasks.costs.step_cost import Cost, Efficiency, Workload, cost_of
from tasks.costs.units import short_count
from tasks.study.errors import InputError
from tasks.study.grid import expand_grid
from tasks.study.params import Params

# Mean prompt + completion tokens over their limits in the published runs (about 1,038 of 2,048 + 4,096).
USUAL_FRACTION = 1038 / 6144


@dataclass(frozen=True)
class GridRunCost:
    """One run of the grid."""

    run_id: str
    size: str
    n: float
    steps: int
    cost: Cost


@dataclass(frozen=True)
class GridCost:
    """The study: its runs and their sums; `tokens` is the mean length that was assumed."""

    runs: list[GridRunCost]
    tokens: float
    total_flops: float
    gpu_hours: float
    usd: float
    longest_hours: float


def grid_cost(params: Params, gpu: Gpu, efficiency: Efficiency, tokens: float | None = None) -> GridCost:
    """Costs every run of a params file's grid.

    Args:
        params: the study.
        gpu: the GPU.
        efficiency: fractions of peak.
        tokens: mean tokens of a prompt with one completion; None: the published fraction of the length limits.

    Raises:
        InputError: tokens is not positive or exceeds the limits.
    """
    train = params.train
    limit = train.sampling.max_prompt_tokens + train.sampling.max_completion_tokens
    mean = USUAL_FRACTION * limit if tokens is None else tokens
    if not 0 < mean <= limit:
        raise InputError(f"--tokens: expected a number up to the params' limit of {limit} tokens, found {mean:g}")
    sizes = {model.name: model_parameters(model) for model in params.pretrain.family.models}
    rows = []
    for run in expand_grid(params):
        work = Workload(
            prompts=train.batch,
            completions=run.group_size,
            tokens=mean,
            eval_problems=params.prepare.heldout,
            eval_samples=train.heldout.samples,
            eval_every=train.heldout.every,
            reference=train.objective.kl_coefficient > 0,
        )
        n = sizes[run.size]
        rows.append(GridRunCost(run.run_id, run.size, n, train.steps, cost_of(n, train.steps, work, gpu, efficiency)))
    costs = [row.cost for row in rows]
    return GridCost(
        rows,
        mean,
        sum(cost.total_flops for cost in costs),
        sum(cost.gpu_hours for cost in costs),
        sum(cost.usd for cost in costs),
        max(cost.hours for cost in costs),
    )


def by_size(costs: GridCost) -> list[tuple[str, int, float, float, float, int]]:
    """Size, runs, FLOPs, GPU-hours, USD and GPUs per run, summed over the runs of a size."""
    out = []
    for size in dict.fromkeys(row.size for row in costs.runs):
        rows = [row for row in costs.runs if row.size == size]
        label = size if any(letter.isalpha() for letter in size) else short_count(rows[0].n)
        flops, hours, usd = (
            sum(getattr(row.cost, name) for row in rows) for name in ("total_flops", "gpu_hours", "usd")
        )
        out.append((label, len(rows), flops, hours, usd, rows[0].cost.gpus))
    return out
