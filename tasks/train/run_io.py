"""What a run leaves on disk: metrics rows, checkpoints to resume from, the final policy."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.records.metrics import StepMetrics, read_metrics
from tasks.study.manifests import canonical_json, digest_text, write_text
from tasks.study.paths import StudyPaths
from tasks.train.checkpoints import (
    TrainerState,
    delete_checkpoints_after,
    find_verified_checkpoint,
    prune_checkpoints,
    read_parts,
    read_state,
    save_checkpoint,
)
from tasks.train.context import TrainingContext
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
    """Appends a row; only the main process writes."""
    if context.accelerator.is_main_process:
        with StudyPaths.of(context.params).metrics(context.run).open("a", encoding="utf-8") as file:
            file.write(row.line())


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
    context.accelerator.wait_for_everyone()
    return state


def save_run_checkpoint(context: TrainingContext, state: TrainerState) -> None:
    """Writes a checkpoint and prunes older ones."""
    paths = StudyPaths.of(context.params)
    folder = paths.checkpoints(context.run)
    if context.accelerator.is_main_process:
        _sync(paths.metrics(context.run))  # no checkpoint may outlive the rows before it
    parts = {"weights": local_state_dict(context.policy), "optimizer": local_optimizer_state(context.updater.optimizer)}
    save_checkpoint(folder, context.fingerprint, state, parts, context.ranks)
    if context.accelerator.is_main_process:
        prune_checkpoints(folder, context.params.checkpoints)
    context.accelerator.wait_for_everyone()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def save_final_policy(context: TrainingContext) -> dict[str, Any]:
    """Writes the final policy; returns the facts of the run."""
    paths = StudyPaths.of(context.params)
    final = paths.final(context.run)
    main = context.accelerator.is_main_process
    # Every process goes through the weights, the main one keeps them, in its host's memory.
    weights = {name: tensor.cpu() for name, tensor in context.policy_weights() if main}
    if main:
        if context.policy.model.config.tie_word_embeddings:
            weights.pop("lm_head.weight", None)
        context.policy.model.save_pretrained(final, state_dict=weights)
        context.train.tokenizer.save_pretrained(final)
    context.accelerator.wait_for_everyone()
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
    """Digest of a run's outcome: its metrics without seconds, and its final weights."""
    values = [{k: v for k, v in json.loads(row.line()).items() if k != "seconds"} for row in rows]
    return digest_text(canonical_json({"run": folder.name, "rows": values, "weights": weights}))
