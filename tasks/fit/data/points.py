"""`data/fit/points.parquet`: the measurements of all runs, one row per run and step, and how laws read them.

The strict loss is the law's; the lenient one counts right final answers wherever they stand and is null in rows of
versions that did not record it. A loss of 0 has no logarithm: where no answer is wrong the row's loss is
(wrong + 0.5) / (trials + 1), and `loss_corrected` says so of the strict one. Step 0 (before
training) is kept with data = compute = 0 and never enters a fit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tasks.fit.data.measurements import Measurements, measure
from tasks.records.metrics import StepMetrics, read_metrics
from tasks.records.models import ModelRecord, read_models
from tasks.study.errors import InputError
from tasks.study.grid import Run
from tasks.study.manifests import atomic_path
from tasks.study.params import Params
from tasks.study.paths import StudyPaths

COLUMNS = {
    "run_id": "str",
    "variant": "str",
    "size": "str",
    "n_params": "int",
    "n_nominal": "float",
    "seed": "int",
    "tau": "int",
    "group_size": "int",
    "step": "int",
    "compute": "float",
    "compute_ledger": "float",
    "data": "int",
    "test_loss": "float",
    "loss_corrected": "bool",
    "test_loss_lenient": "float",
    "trials": "int",
    "correct": "int",
    "correct_lenient": "int",
    "batch": "int",
    "minibatch": "int",
    "max_prompt_tokens": "int",
    "max_completion_tokens": "int",
    "eval_temperature": "float",
    "eval_samples": "int",
    "grader_version": "str",
}
RESOURCES = ("compute", "data")


@dataclass(frozen=True)
class EvaluationProtocol:
    """How a run was trained and evaluated, as far as it decides whether runs may be pooled."""

    batch: int
    minibatch: int
    max_prompt_tokens: int
    max_completion_tokens: int
    eval_temperature: float
    eval_samples: int
    grader_version: str

    @classmethod
    def of(cls, params: Params, grader_version: str) -> EvaluationProtocol:
        """The protocol of a study."""
        train = params.train
        lengths = train.sampling
        return cls(
            train.batch,
            train.minibatch,
            lengths.max_prompt_tokens,
            lengths.max_completion_tokens,
            train.heldout.temperature,
            train.heldout.samples,
            grader_version,
        )


def collect_points(params: Params, runs: Iterable[Run], grader_version: str) -> list[dict[str, Any]]:
    """Reads every run's metrics into rows of `COLUMNS`.

    Raises:
        InputError: a run of the grid has no evaluated step.
    """
    layout = StudyPaths.of(params)
    models = read_models(layout.stage("pretrain"))
    protocol = EvaluationProtocol.of(params, grader_version)
    rows: list[dict[str, Any]] = []
    for run in runs:
        steps = [point(run, models[run.model], row, protocol) for row in read_metrics(layout.metrics(run))]
        evaluated = [row for row in steps if row is not None]
        if not evaluated:
            raise InputError(f"{layout.metrics(run)}: no evaluated step; run `rlscale train {run.run_id}` first")
        rows += evaluated
    return rows


def point(run: Run, model: ModelRecord, row: StepMetrics, protocol: EvaluationProtocol) -> dict[str, Any] | None:
    """One row of the points, or None for a step without an evaluation."""
    if row.test_loss is None or row.test_trials is None or row.test_right is None:
        return None
    lenient = row.test_right_lenient
    return {
        "run_id": run.run_id,
        "variant": run.variant,
        "size": run.size,
        "n_params": model.n_params,
        "n_nominal": float(model.nominal),
        "seed": run.seed,
        "tau": run.tau,
        "group_size": run.group_size,
        "step": row.step,
        "compute": float(row.compute),
        "compute_ledger": float(row.flops_total),
        "data": row.data,
        "test_loss": positive_loss(row.test_right, row.test_trials),
        "loss_corrected": row.test_right == row.test_trials,
        "test_loss_lenient": None if lenient is None else positive_loss(lenient, row.test_trials),
        "trials": row.test_trials,
        "correct": row.test_right,
        "correct_lenient": lenient,
        **vars(protocol),
    }


def positive_loss(right: int, trials: int) -> float:
    """1 - right / trials, or what stands in for 0 where every answer is right."""
    return 0.5 / (trials + 1) if right == trials else (trials - right) / trials


def write_points(path: Path, rows: list[dict[str, Any]]) -> None:
    """Writes the rows atomically as parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    schema = pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)


def read_points(path: Path) -> list[dict[str, Any]]:
    """Reads the rows that `write_points` wrote.

    Raises:
        InputError: there is no such file.
    """
    import pyarrow.parquet as pq

    try:
        return list(pq.read_table(path).to_pylist())
    except FileNotFoundError:
        raise InputError(f"{path}: no points; run `rlscale fit` first") from None


def scale_points(
    rows: list[dict[str, Any]], variant: str, resource: str, group_size: int, loss: str = "test_loss"
) -> Measurements | None:
    """The points of the scaling fits: one variant, tau = 1, the study's group size, X > 0.

    Returns:
        Measurements with X = `resource` (compute or data), or None where the variant has none or a point lacks `loss`.
    """
    chosen = [
        row
        for row in rows
        if row["variant"] == variant and row["tau"] == 1 and row["group_size"] == group_size and row[resource] > 0
    ]
    if not chosen or any(row[loss] is None for row in chosen):
        return None
    return _measurements(chosen, "n_params", resource, {float(row["n_params"]): row["size"] for row in chosen}, loss)


def reuse_points(rows: list[dict[str, Any]], variant: str, group_size: int) -> Measurements | None:
    """The points of the reuse law: tau stands in for N, X = step, at the size (and seeds) of the reuse axis.

    Returns:
        Measurements, or None where the variant has no run with tau > 1.
    """
    candidates = [
        row for row in rows if row["variant"] == variant and row["group_size"] == group_size and row["step"] > 0
    ]
    sizes = {row["size"] for row in candidates if row["tau"] > 1}
    if not sizes:
        return None
    chosen = [row for row in candidates if row["size"] in sizes]
    return _measurements(chosen, "tau", "step", {float(row["tau"]): f"tau {row['tau']}" for row in chosen})


def _measurements(
    rows: list[dict[str, Any]], n: str, x: str, labels: dict[float, str], loss: str = "test_loss"
) -> Measurements:
    return measure(
        np.array([row[n] for row in rows], dtype=float),
        np.array([row[x] for row in rows], dtype=float),
        np.array([row[loss] for row in rows]),
        [row["run_id"] for row in rows],
        step=[row["step"] for row in rows],
        trials=[row["trials"] for row in rows],
        unit=x,
        labels=labels,
    )
