"""Training checkpoints at step boundaries: everything that a resumed run needs to equal the uninterrupted one.

A checkpoint is a folder `step-000050/` with `weights.safetensors`, `optimizer.safetensors`, `state.json` and, last, a
manifest with the digests of the others. Where the policy is sharded, each process writes its own pair of files,
`weights-00001-of-00008.safetensors`; any number of processes can read them. A checkpoint whose bytes do not match its
manifest is skipped with a warning and the one before it is used. `CheckpointWriter` writes one beside the training.

Not covered: the random state of libraries, because none is used; sampling is a hash of (seed, step, prompt, sample,
position) and the data order is the curriculum's.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save_file

from tasks.study.manifests import MANIFEST, atomic_path, digest_file, read_manifest, write_json
from tasks.study.params import Checkpoints
from tasks.train.checkpoint_folder import checkpoint_path, list_checkpoints, prune_checkpoints, remove_checkpoint
from tasks.train.sharded_files import ShardedSafetensors

log = logging.getLogger(__name__)

STATE = "state.json"


T = TypeVar("T")


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

    def do_together(self, work: Callable[[], T]) -> list[T]:
        """Does every process's part; returns all answers, by rank. What one raises is raised in all of them.

        Raises:
            RuntimeError: a process could not do its part; the message names them and why.
        """
        try:
            answer: tuple[T | None, str | None] = work(), None
        except Exception as error:
            answer = None, f"rank {self.rank}: {type(error).__name__}: {error}"
        answers = self.all_gather_object(answer)
        if failures := [text for _, text in answers if text is not None]:
            raise RuntimeError("; ".join(failures))
        return [value for value, _ in answers]


SINGLE_PROCESS = RankGroup(0, 1, 1, lambda value: [value])

Parts = Mapping[str, Mapping[str, torch.Tensor]]


def save_checkpoint(
    folder: Path,
    fingerprint: str,
    state: TrainerState,
    parts: Parts,
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
    target = checkpoint_path(folder, state.step)

    def begin() -> None:
        if ranks.rank == 0:
            remove_checkpoint(target)
            target.mkdir(parents=True)

    def write() -> dict[str, Any]:
        if ranks.rank >= ranks.num_shards:
            return {}
        paths = {kind: target / shard_file_name(kind, ranks.rank, ranks.num_shards) for kind in parts}
        for kind, path in paths.items():
            save_tensors(path, parts[kind])
        return {path.name: _entry(path) for path in paths.values()}

    def close() -> None:
        if ranks.rank == 0:
            write_json(target / STATE, vars(state))
            files = {name: entry for part in written for name, entry in part.items()} | {STATE: _entry(target / STATE)}
            write_json(target / MANIFEST, {"stage": "checkpoint", "fingerprint": fingerprint, "files": files})

    ranks.do_together(begin)
    written = ranks.do_together(write)
    ranks.do_together(close)
    return target


class CheckpointWriter:
    """Writes a run's checkpoints in a thread of its own, while the training goes on; every process has one.

    What is written is copied to the host's memory first, so a checkpoint costs the training that copy and the host one
    set of the process's shards. One is in flight at most. Killed at any moment, the run has its last complete one.
    """

    def __init__(self, folder: Path, fingerprint: str, keep: Checkpoints, ranks: RankGroup) -> None:
        """Nothing is written yet.

        Args:
            folder: the run's checkpoint folder.
            fingerprint: the run's fingerprint.
            keep: which older ones stay.
            ranks: the processes; their gathering is called in the thread, so nothing else may use it meanwhile.
        """
        self._folder = folder
        self._fingerprint = fingerprint
        self._keep = keep
        self._ranks = ranks
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def start(self, state: TrainerState, parts: Parts) -> None:
        """Copies the tensors and begins to write them. Raises as `wait`, for the checkpoint before."""
        self.wait()
        copies = {
            kind: {name: tensor.detach().to("cpu", copy=True) for name, tensor in part.items()}
            for kind, part in parts.items()
        }
        # A daemon: a run that fails does not wait for a disk, and a rank that is lost is not waited for.
        self._thread = threading.Thread(target=self._write, args=(state, copies), name="checkpoint", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Waits until the checkpoint in flight is complete.

        Raises:
            Exception: what writing it raised, on any process.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _write(self, state: TrainerState, parts: Parts) -> None:
        try:
            save_checkpoint(self._folder, self._fingerprint, state, parts, self._ranks)
            if self._ranks.rank == 0:
                prune_checkpoints(self._folder, self._keep)
        except Exception as error:
            self._error = error  # raised by `wait`, where the training can hear it


def shard_file_name(kind: str, rank: int, num_shards: int) -> str:
    """File name of a process's part: numbered only where there are several."""
    return f"{kind}.safetensors" if num_shards == 1 else f"{kind}-{rank + 1:05d}-of-{num_shards:05d}.safetensors"


def _entry(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": digest_file(path)}


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Writes a safetensors file atomically."""
    with atomic_path(path) as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary)


def find_verified_checkpoint(folder: Path, fingerprint: str, ranks: RankGroup = SINGLE_PROCESS) -> Path | None:
    """Returns the newest undamaged checkpoint of this fingerprint; damaged ones are named in a warning.

    Every byte is read once: each process digests its part of the files, and all agree on the answer.
    """
    names = ranks.all_gather_object([path.name for path in reversed(list_checkpoints(folder))])[0]
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


def read_state(checkpoint: Path) -> TrainerState:
    """Reads a checkpoint's counters."""
    return TrainerState(**json.loads((checkpoint / STATE).read_text(encoding="utf-8")))


def read_parts(checkpoint: Path, kind: str) -> ShardedSafetensors:
    """Opens the tensors of one kind, `weights` or `optimizer`, whatever number of processes wrote them."""
    manifest = read_manifest(checkpoint) or {"files": {}}
    names = [name for name in manifest["files"] if name.startswith((f"{kind}.", f"{kind}-"))]
    return ShardedSafetensors([checkpoint / name for name in sorted(names)])
