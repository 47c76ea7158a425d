"""The folder of a run's checkpoints, `step-000050/` and so on: what is in it, what stays. Reads no tensors."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from tasks.study.manifests import MANIFEST, is_complete
from tasks.study.params import Checkpoints

PREFIX = "step-"


def checkpoint_path(folder: Path, step: int) -> Path:
    """The checkpoint of a step."""
    return folder / f"{PREFIX}{step:06d}"


def checkpoint_step(checkpoint: Path) -> int:
    """The step of a checkpoint."""
    return int(checkpoint.name.removeprefix(PREFIX))


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints by step, half written ones included."""
    return sorted(folder.glob(f"{PREFIX}*"))


def find_complete_checkpoint(folder: Path, fingerprint: str) -> Path | None:
    """Returns the newest checkpoint of this fingerprint whose files have the right sizes; reads none of them."""
    newest_first = reversed(list_checkpoints(folder))
    return next((candidate for candidate in newest_first if is_complete(candidate, fingerprint)), None)


def prune_checkpoints(folder: Path, keep: Checkpoints) -> None:
    """Removes checkpoints that are neither among the last `keep_last` nor milestones.

    What never got its manifest does not count as one of the last and goes too.
    """
    checkpoints = list_checkpoints(folder)
    complete = [path for path in checkpoints if (path / MANIFEST).is_file()]
    for path in checkpoints:
        if path not in complete[-keep.keep_last :] and not (path in complete and _is_milestone(path, keep)):
            remove_checkpoint(path)


def remove_resumable(folder: Path, keep: Checkpoints) -> None:
    """Removes what a finished run no longer needs: all checkpoints but milestones."""
    for path in list_checkpoints(folder):
        if not ((path / MANIFEST).is_file() and _is_milestone(path, keep)):
            remove_checkpoint(path)
    with contextlib.suppress(OSError):  # milestones are in it, or it never was
        folder.rmdir()


def delete_checkpoints_after(folder: Path, step: int) -> None:
    """Removes checkpoints beyond a step: a resumed run skipped them, so they must not count as its last ones."""
    for path in list_checkpoints(folder):
        if checkpoint_step(path) > step:
            remove_checkpoint(path)


def remove_checkpoint(path: Path) -> None:
    """Removes a checkpoint, manifest first: one that is half removed looks half written."""
    (path / MANIFEST).unlink(missing_ok=True)
    if path.exists():
        shutil.rmtree(path)


def _is_milestone(path: Path, keep: Checkpoints) -> bool:
    return keep.keep_every is not None and checkpoint_step(path) % keep.keep_every == 0
