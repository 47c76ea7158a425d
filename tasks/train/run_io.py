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


def append_metrics(session: TrainingContext, row: StepMetrics) -> None:
    """Appends a row; only the main process writes."""
    if session.accelerator.is_main_process:
        with StudyPaths.of(session.params).metrics(session.run).open("a", encoding="utf-8") as file:
            file.write(row.line())


def resume(session: TrainingContext) -> TrainerState:
    """Loads the last good checkpoint, if any, and cuts the metrics after it."""
    layout, run = StudyPaths.of(session.params), session.run
    folder = layout.checkpoints(run)
    found = find_verified_checkpoint(folder, session.fingerprint, session.ranks)
    state = read_state(found) if found else TrainerState()
    if session.accelerator.is_main_process:
        kept = [row for row in read_metrics(layout.metrics(run)) if found and row.step <= state.step]
        write_text(layout.metrics(run), "".join(row.line() for row in kept))
        delete_checkpoints_after(folder, state.step)
    if found:
        load_local_state_dict(session.policy, read_parts(found, "weights"))
        load_local_optimizer_state(session.updater.optimizer, read_parts(found, "optimizer"))
    session.accelerator.wait_for_everyone()
    return state


def save_run_checkpoint(session: TrainingContext, state: TrainerState) -> None:
    """Writes a checkpoint and prunes older ones."""
    paths = StudyPaths.of(session.params)
    folder = paths.checkpoints(session.run)
    if session.accelerator.is_main_process:
        _sync(paths.metrics(session.run))  # no checkpoint may outlive the rows before it
    parts = {"weights": local_state_dict(session.policy), "optimizer": local_optimizer_state(session.updater.optimizer)}
    save_checkpoint(folder, session.fingerprint, state, parts, session.ranks)
    if session.accelerator.is_main_process:
        prune_checkpoints(folder, session.params.checkpoints)
    session.accelerator.wait_for_everyone()


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def save_final_policy(session: TrainingContext) -> dict[str, Any]:
    """Writes the final policy; returns the facts of the run."""
    paths = StudyPaths.of(session.params)
    final = paths.final(session.run)
    main = session.accelerator.is_main_process
    # Every process goes through the weights, the main one keeps them, in its host's memory.
    weights = {name: tensor.cpu() for name, tensor in session.policy_weights() if main}
    if main:
        if session.policy.model.config.tie_word_embeddings:
            weights.pop("lm_head.weight", None)
        session.policy.model.save_pretrained(final, state_dict=weights)
        session.train.tokenizer.save_pretrained(final)
    session.accelerator.wait_for_everyone()
    rows = read_metrics(paths.metrics(session.run))
    return asdict(session.run) | {
        "n_params": session.model.n_params,
        "nominal": session.model.nominal,
        "steps": session.params.train.steps,
        "test_loss": rows[-1].test_loss,
        "compute": rows[-1].compute,
        "content": content_digest(session.folder, rows, session.sampler.engine.fingerprint()),
    }


def content_digest(folder: Path, rows: list[StepMetrics], weights: str) -> str:
    """Digest of what a run found out: its metrics without seconds, and its final weights."""
    values = [{k: v for k, v in json.loads(row.line()).items() if k != "seconds"} for row in rows]
    return digest_text(canonical_json({"run": folder.name, "rows": values, "weights": weights}))
