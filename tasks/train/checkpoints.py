"""Training checkpoints at step boundaries: everything that a resumed run needs to equal the uninterrupted one.

A checkpoint is a folder `step-000050/` with `weights.safetensors`, `optimizer.safetensors`, `state.json` and, last, a
manifest with the digests of the others. Where the policy is sharded, each process writes its own pair of files,
`weights-00001-of-00008.safetensors`; any number of processes can read them. A checkpoint whose bytes do not match its
manifest is skipped with a warning and the one before it is used.

Not covered: the random state of libraries, because none is used; sampling is a hash of (seed, step, prompt, sample,
position) and the data order is the curriculum's.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tasks.study.manifests import MANIFEST, atomic_path, digest_file, is_complete, read_manifest, write_json
from tasks.study.params import Checkpoints
from tasks.train.sharded_files import ShardedSafetensors

log = logging.getLogger(__name__)

STATE = "state.json"


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


@dataclass(frozen=True)
class RankGroup:
    """The processes that write or read a checkpoint together.

    Attributes:
        rank: this process.
        world_size: how many there are.
        num_shards: how many of them, from 0 on, hold a part of their own.
        all_gather_object: returns every process's value, by rank; also a barrier.
    """

    rank: int
    world_size: int
    num_shards: int
    all_gather_object: Callable[[Any], list[Any]]


SINGLE_PROCESS = RankGroup(0, 1, 1, lambda value: [value])


def save_checkpoint(
    folder: Path,
    fingerprint: str,
    state: TrainerState,
    parts: Mapping[str, Mapping[str, torch.Tensor]],
    ranks: RankGroup = SINGLE_PROCESS,
) -> Path:
    """Writes `step-NNNNNN/` below `folder`, manifest last; every process calls it.

    Args:
        folder: the run's checkpoint folder.
        fingerprint: the run's fingerprint; a checkpoint of another run is never resumed.
        state: counters.
        parts: this process's tensors: `weights` and `optimizer`.
        ranks: the processes.
    """
    target = folder / f"step-{state.step:06d}"
    if ranks.rank == 0:
        _remove(target)
        target.mkdir(parents=True)
    ranks.all_gather_object(None)
    entries: dict[str, Any] = {}
    if ranks.rank < ranks.num_shards:
        for kind, tensors in parts.items():
            path = target / shard_file_name(kind, ranks.rank, ranks.num_shards)
            save_tensors(path, tensors)
            entries[path.name] = _entry(path)
    written = ranks.all_gather_object(entries)
    if ranks.rank == 0:
        write_json(target / STATE, vars(state))
        files = {name: entry for part in written for name, entry in part.items()} | {STATE: _entry(target / STATE)}
        write_json(target / MANIFEST, {"stage": "checkpoint", "fingerprint": fingerprint, "files": files})
    ranks.all_gather_object(None)
    return target


def shard_file_name(kind: str, rank: int, num_shards: int) -> str:
    """File name of a process's part: numbered only where there are several."""
    return f"{kind}.safetensors" if num_shards == 1 else f"{kind}-{rank + 1:05d}-of-{num_shards:05d}.safetensors"


def _entry(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": digest_file(path)}


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Writes a safetensors file atomically."""
    with atomic_path(path) as temporary:
        save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, temporary)


def find_verified_checkpoint(folder: Path, fingerprint: str, ranks: RankGroup = SINGLE_PROCESS) -> Path | None:
    """Returns the newest undamaged checkpoint of this fingerprint; damaged ones are named in a warning.

    Every byte is read once: each process digests its part of the files, and all agree on the answer.
    """
    names = ranks.all_gather_object(sorted((path.name for path in folder.glob("step-*")), reverse=True))[0]
    for candidate in (folder / name for name in names):
        manifest = read_manifest(candidate)
        if manifest is not None and manifest["fingerprint"] != fingerprint:
            continue
        corrupt = [
            name for part in ranks.all_gather_object(_corrupt_files(candidate, manifest, ranks)) for name in part
        ]
        if not corrupt:
            return candidate
        if ranks.rank == 0:
            log.warning(
                "%s is damaged (%s); using the checkpoint before it", candidate, ", ".join(sorted(set(corrupt)))
            )
    return None


def _corrupt_files(candidate: Path, manifest: dict[str, Any] | None, ranks: RankGroup) -> list[str]:
    """Files among this process's part that are missing or differ from the manifest."""
    if manifest is None:
        return [MANIFEST]
    names = sorted(manifest["files"])[ranks.rank :: ranks.world_size]
    paths = {name: candidate / name for name in names}
    return [
        name
        for name, path in paths.items()
        if not path.is_file() or digest_file(path) != manifest["files"][name]["sha256"]
    ]


def find_complete_checkpoint(folder: Path, fingerprint: str) -> Path | None:
    """Returns the newest checkpoint of this fingerprint whose files have the right sizes; reads none of them."""
    newest_first = sorted(folder.glob("step-*"), reverse=True)
    return next((candidate for candidate in newest_first if is_complete(candidate, fingerprint)), None)


def read_state(checkpoint: Path) -> TrainerState:
    """Reads a checkpoint's counters."""
    return TrainerState(**json.loads((checkpoint / STATE).read_text(encoding="utf-8")))


def read_parts(checkpoint: Path, kind: str) -> ShardedSafetensors:
    """Opens the tensors of one kind, `weights` or `optimizer`, whatever number of processes wrote them."""
    manifest = read_manifest(checkpoint) or {"files": {}}
    names = [name for name in manifest["files"] if name.startswith((f"{kind}.", f"{kind}-"))]
    return ShardedSafetensors([checkpoint / name for name in sorted(names)])


def prune_checkpoints(folder: Path, keep: Checkpoints) -> None:
    """Removes checkpoints that are neither among the last `keep_last` nor at a multiple of `keep_every`.

    What never got its manifest does not count as one of the last and goes too.
    """
    checkpoints = sorted(folder.glob("step-*"))
    complete = [path for path in checkpoints if (path / MANIFEST).is_file()]
    for path in checkpoints:
        step = int(path.name.removeprefix("step-"))
        is_milestone = path in complete and (keep.keep_every is not None and step % keep.keep_every == 0)
        if path not in complete[-keep.keep_last :] and not is_milestone:
            _remove(path)


def delete_checkpoints_after(folder: Path, step: int) -> None:
    """Removes checkpoints beyond a step: a resumed run skipped them, so they must not count as its last ones."""
    for path in folder.glob("step-*"):
        if int(path.name.removeprefix("step-")) > step:
            _remove(path)


def _remove(path: Path) -> None:
    """Removes a checkpoint, manifest first: one that is half removed looks half written."""
    (path / MANIFEST).unlink(missing_ok=True)
    if path.exists():
        shutil.rmtree(path)
