"""What a study costs before it is launched: bounds of each run from the params alone, and `rlscale plan --grid`.

Not covered: completions that end early; a run that is done has its true counts in its metrics.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.costs.flops import Architecture, published_compute
from tasks.costs.gpu_table import Gpu
from tasks.costs.step_cost import Cost, Workload, cost_of
from tasks.costs.step_time import Efficiency
from tasks.costs.units import short_count
from tasks.records.models import read_models
from tasks.study.errors import InputError
from tasks.study.grid import Run, expand_grid
from tasks.study.manifests import read_manifest
from tasks.study.params import HubModel, Params, TinyModel
from tasks.study.paths import StudyPaths

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
            longest=train.sampling.max_completion_tokens,
        )
        n = sizes[run.size]
        cost = cost_of(n, run.steps, work, gpu, efficiency, params.hardware.gpus_per_run.get(run.size))
        rows.append(GridRunCost(run.run_id, run.size, n, run.steps, cost))
    costs = [row.cost for row in rows]
    return GridCost(
        rows,
        mean,
        sum(cost.total_flops for cost in costs),
        sum(cost.gpu_hours for cost in costs),
        sum(cost.usd for cost in costs),
        max(cost.hours for cost in costs),
    )


def model_parameters(model: TinyModel | HubModel) -> float:
    """N of a model of either family from its spec: nominal for hub models, exact and non-embedding for tiny ones."""
    if isinstance(model, HubModel):
        return model.nominal
    head_dim = model.hidden // model.heads
    return Architecture(model.hidden, model.layers, model.heads, model.kv_heads, head_dim, model.ffn, 0).n_params


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


@dataclass(frozen=True)
class RunCost:
    """Upper bounds of a run: N parameters, T prompt and completion tokens of training, C = 6 N T FLOPs."""

    n_params: float
    tokens: int
    compute: float


def estimate_run_cost(params: Params, run: Run) -> RunCost:
    """Predicts a run's size from the params, with every prompt and completion at its length limit."""
    lengths = params.train.sampling
    tokens = run.steps * params.train.batch * run.group_size
    tokens *= lengths.max_prompt_tokens + lengths.max_completion_tokens
    n_params = parameter_count(params, run)
    return RunCost(n_params, tokens, published_compute(n_params, tokens))


def parameter_count(params: Params, run: Run) -> float:
    """N: counted where the checkpoint is there, else from the tiny family's shape or the published nominal size."""
    folder = StudyPaths.of(params).stage("pretrain")
    counted = read_models(folder) if "models" in (read_manifest(folder) or {}) else {}
    if run.model in counted:
        return counted[run.model].n_params
    return model_parameters(next(model for model in params.pretrain.family.models if model.name == run.size))
