"""Training checkpoints at step boundaries: everything that a resumed run needs to equal the uninterrupted one.

A checkpoint is a folder `step-000050/` with `weights.safetensors`, `optimizer.safetensors`, `state.json` and, last, a
manifest with the digests of the others. One whose bytes do not match its manifest is passed over with a warning and
the one before it is used.

Not covered: the random state of libraries, because none is used; sampling is a hash of (seed, step, prompt, sample,
position) and the data order is the curriculum's.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from tasks.params import Checkpoints
from tasks.store import atomic_path, read_manifest, verify, write_json, write_manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainerState:
    """What a run is besides its weights.

    Attributes:
        step: finished steps.
        data: prompts seen.
        tokens: prompt and completion tokens seen.
        flops_total: FLOPs of all phases so far.
    """

    step: int = 0
    data: int = 0
    tokens: int = 0
    flops_total: float = 0.0


def save_checkpoint(
    folder: Path, mark: str, state: TrainerState, weights: dict[str, torch.Tensor], optimizer: dict[str, Any]
) -> Path:
    """Writes `step-NNNNNN/` below `folder`, manifest last.

    Args:
        folder: the run's checkpoint folder.
        mark: the run's fingerprint; a checkpoint of another run is never resumed.
        state: counters.
        weights: full parameters by name.
        optimizer: the optimiser's state dict, of full parameters.
    """
    target = folder / f"step-{state.step:06d}"
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    save_tensors(target / "weights.safetensors", weights)
    tensors = {
        f"{index}.{key}": value if isinstance(value, torch.Tensor) else torch.tensor(value)
        for index, entry in optimizer["state"].items()
        for key, value in entry.items()
    }
    save_tensors(target / "optimizer.safetensors", tensors)
    write_json(target / "state.json", vars(state))
    write_manifest(target, "checkpoint", mark, ["weights.safetensors", "optimizer.safetensors", "state.json"], {})
    return target


def save_tensors(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Writes a safetensors file atomically."""
    with atomic_path(path) as temporary:
        save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, temporary)


def latest_checkpoint(folder: Path, mark: str) -> Path | None:
    """Returns the newest undamaged checkpoint of this fingerprint; damaged ones are named in a warning."""
    for candidate in sorted(folder.glob("step-*"), reverse=True):
        manifest = read_manifest(candidate)
        if manifest is not None and manifest["fingerprint"] != mark:
            continue
        broken = verify(candidate)
        if not broken:
            return candidate
        log.warning("%s is damaged (%s); using the checkpoint before it", candidate, ", ".join(broken))
    return None


def read_state(checkpoint: Path) -> TrainerState:
    """Reads a checkpoint's counters."""
    return TrainerState(**json.loads((checkpoint / "state.json").read_text(encoding="utf-8")))


def read_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Reads a checkpoint's weights."""
    return load_file(checkpoint / "weights.safetensors")


def read_optimizer(checkpoint: Path, fresh: dict[str, Any]) -> dict[str, Any]:
    """Reads a checkpoint's optimiser state into the form of a fresh optimiser's state dict."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in load_file(checkpoint / "optimizer.safetensors").items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    return {"state": state, "param_groups": fresh["param_groups"]}


def prune_checkpoints(folder: Path, keep: Checkpoints) -> None:
    """Removes checkpoints that are neither among the last `keep_last` nor at a multiple of `keep_every`."""
    found = sorted(folder.glob("step-*"))
    for path in found[: -keep.keep_last]:
        if keep.keep_every is None or int(path.name.removeprefix("step-")) % keep.keep_every:
            shutil.rmtree(path)
