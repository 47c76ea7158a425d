"""Names by which a table's columns are recognized."""

from __future__ import annotations

from collections.abc import Iterable

# In order of use, compared without case. Names of sizes may also label another column's N, so numbers come first.
COLUMN_ALIASES = {
    "n": (
        "n_params",
        "params",
        "n",
        "parameters",
        "model_params",
        "num_params",
        "parameter_count",
        "model_size",
        "model size",
        "size",
    ),
    "x": (
        "compute",
        "compute_flops",
        "data",
        "data_samples",
        "flops",
        "samples",
        "x",
        "c",
        "d",
        "cumulative_flops",
        "total_flops",
        "training flop",
        "gflops",
        "prompts",
    ),
    "tokens": ("tokens", "total_tokens", "num_tokens"),
    "loss": ("test_loss", "loss", "l", "error_rate"),
    "share": ("accuracy", "acc", "pass@1", "pass_at_1", "pass_rate", "score", "holdout_score", "mean@1"),
    "run": ("run_id", "run", "runid", "run_name", "seed", "name"),
    "trials": ("trials",),
    "group": ("variant",),
    "step": ("step", "_step", "global_step", "checkpoint_step", "update", "iteration", "epoch"),
}


def is_points_table(names: Iterable[str]) -> bool:
    """Whether columns are those of points: a size and a loss or share beside it, by their plain names."""
    lower = {name.lower() for name in names}
    has_loss = lower & {*COLUMN_ALIASES["loss"], *COLUMN_ALIASES["share"]}
    return bool(has_loss and lower & set(COLUMN_ALIASES["n"]))
