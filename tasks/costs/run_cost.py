"""What a run will cost, before anything has been made: an upper bound from the params alone.

Not covered: completions that end early; a run that is done has its true counts in its metrics.
"""

from __future__ import annotations

from dataclasses import dataclass

from tasks.costs.flops import Architecture, published_compute
from tasks.records.models import read_models
from tasks.study.grid import Run
from tasks.study.manifests import read_manifest
from tasks.study.params import HubModel, Params, TinyModel
from tasks.study.paths import StudyPaths


@dataclass(frozen=True)
class RunCost:
    """Upper bounds of a run: N parameters, T prompt and completion tokens of training, C = 6 N T FLOPs."""

    n_params: float
    tokens: int
    compute: float


def estimate_run_cost(params: Params, run: Run) -> RunCost:
    """Predicts a run's size from the params, with every prompt and completion at its length limit."""
    lengths = params.train.sampling
    tokens = params.train.steps * params.train.batch * run.group_size
    tokens *= lengths.max_prompt_tokens + lengths.max_completion_tokens
    n_params = parameter_count(params, run)
    return RunCost(n_params, tokens, published_compute(n_params, tokens))


def parameter_count(params: Params, run: Run) -> float:
    """N: counted where the checkpoint is there, else from the tiny family's shape or the published nominal size."""
    folder = StudyPaths.of(params).stage("pretrain")
    models = read_models(folder) if "models" in (read_manifest(folder) or {}) else {}
    if run.model in models:
        return models[run.model].n_params
    return model_parameters(next(model for model in params.pretrain.family.models if model.name == run.size))


def model_parameters(model: TinyModel | HubModel) -> float:
    """N of a model of either family: exact and non-embedding for the tiny ones, nominal for hub models."""
    if isinstance(model, HubModel):
        return model.nominal
    head_dim = model.hidden // model.heads
    return Architecture(
        model.hidden, model.layers, model.heads, model.kv_heads, head_dim, model.ffn, vocab_size=0
    ).n_params
