"""What a run leaves on disk: metrics rows, checkpoints to resume from, the final policy."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from tasks.records.metrics import StepMetrics, read_metrics
from tasks.study.manifests import canonical_json, digest_text, write_text
from tasks.study.paths import StudyPaths
from tasks.train.checkpoint_folder import delete_checkpoints_after
from tasks.train.checkpoints import CheckpointWriter, TrainerState, find_verified_checkpoint, read_parts, read_state
from tasks.train.context import TrainingContext
from tasks.train.final_weights import write_pretrained
from tasks.train.parallel import (
    load_local_optimizer_state,
    load_local_state_dict,
    local_optimizer_state,
    local_state_dict,
)


@contextlib.contextmanager
def training_lock(folder: Path) -> Iterator[None]:
    """Inside, no other process trains into this folder; waits for one that still does.

    A killed launcher may be started again before the processes it left, perhaps on a cluster, have ended. The lock
    belongs to the first process of a run and goes with it.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".training").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def append_metrics(context: TrainingContext, row: StepMetrics) -> None:
    """Appends a row with its date; only the main process writes."""
    if context.accelerator.is_main_process:
        with StudyPaths.of(context.params).metrics(context.run).open("a", encoding="utf-8") as file:
            file.write(replace(row, written_at=round(time.time(), 3)).line())


def resume(context: TrainingContext) -> TrainerState:
    """Loads the last good checkpoint, if any, and cuts the metrics after it."""
    paths, run = StudyPaths.of(context.params), context.run
    folder = paths.checkpoints(run)
    checkpoint = find_verified_checkpoint(folder, context.fingerprint, context.ranks)
    state = read_state(checkpoint) if checkpoint else TrainerState()
    if context.accelerator.is_main_process:
        rows = [row for row in read_metrics(paths.metrics(run)) if checkpoint and row.step <= state.step]
        write_text(paths.metrics(run), "".join(row.line() for row in rows))
        delete_checkpoints_after(folder, state.step)
    if checkpoint:
        load_local_state_dict(context.policy, read_parts(checkpoint, "weights"))
        load_local_optimizer_state(context.updater.optimizer, read_parts(checkpoint, "optimizer"))
    context.parallel.barrier()
    return state


def checkpoint_writer(context: TrainingContext) -> CheckpointWriter:
    """What writes the run's checkpoints beside the training."""
    folder = StudyPaths.of(context.params).checkpoints(context.run)
    return CheckpointWriter(folder, context.fingerprint, context.params.checkpoints, context.ranks_for("checkpoint"))


def save_run_checkpoint(context: TrainingContext, writer: CheckpointWriter, state: TrainerState) -> None:
    """Begins to write a checkpoint, which older ones are pruned after. Raises as `CheckpointWriter.wait`."""
    if context.accelerator.is_main_process:
        _sync(StudyPaths.of(context.params).metrics(context.run))  # no checkpoint may outlive the rows before it
    parts = {"weights": local_state_dict(context.policy), "optimizer": local_optimizer_state(context.updater.optimizer)}
    writer.start(state, parts)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def save_final_policy(context: TrainingContext) -> dict[str, Any]:
    """Writes the final policy; returns the facts of the run."""
    paths = StudyPaths.of(context.params)
    final = paths.final(context.run)
    dtype = getattr(torch, context.params.train.precision)
    write_pretrained(final, context.policy.model, context.policy_weights(), dtype, context.ranks)
    if context.accelerator.is_main_process:
        context.train.tokenizer.save_pretrained(final)
    context.parallel.barrier()
    rows = read_metrics(paths.metrics(context.run))
    return asdict(context.run) | {
        "n_params": context.model.n_params,
        "nominal": context.model.nominal,
        "steps": rows[-1].step,
        "test_loss": next((row.test_loss for row in reversed(rows) if row.test_loss is not None), None),
        "compute": rows[-1].compute,
        "content": content_digest(context.folder, rows, context.sampler.engine.fingerprint()),
    }


def content_digest(folder: Path, rows: list[StepMetrics], weights: str) -> str:
    """Digest of a run's outcome: its metrics without clock values, and its final weights."""
    values = [row.outcome() for row in rows]
    return digest_text(canonical_json({"run": folder.name, "rows": values, "weights": weights}))
