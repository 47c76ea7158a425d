"""Disk space that training needs, from the number of parameters alone: checkpoints, final policies, a whole study.

    checkpoint = 12 bytes x trained parameters    (float32 master weights and AdamW's two moments)
    final      = 2 or 4 bytes x all parameters    (`train.precision`)
    run peak   = the checkpoints kept, one that is being written, milestones; at the end the final policy
    run kept   = milestones (`checkpoints.keep_every`) and the final policy

The checkpoints that a run resumes from are removed once its final policy is proven, so a study holds what every run
keeps, and besides it the difference to the peak for the runs in flight.

Not covered: metrics, samples, logs and the headers of files, all together below a thousandth.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from tasks.costs.grid_cost import model_parameters
from tasks.costs.model_shape import read_shape
from tasks.records.models import ModelRecord, read_models
from tasks.study.errors import InputError
from tasks.study.grid import Run, expand_grid
from tasks.study.manifests import read_manifest
from tasks.study.params import Params
from tasks.study.paths import StudyPaths

MASTER_BYTES = 12.0
"""Bytes of a trained parameter in a checkpoint: float32 weight and two float32 moments."""
GB = 1e9


@dataclass(frozen=True)
class RunDisk:
    """Bytes of one run.

    Attributes:
        checkpoint: one checkpoint.
        final: the final policy.
        num_resumable: checkpoints there are at once to resume from, one that is being written included.
        num_milestones: checkpoints that stay.
    """

    checkpoint: float
    final: float
    num_resumable: int
    num_milestones: int

    @property
    def kept(self) -> float:
        """Bytes that stay when the run is done."""
        return self.num_milestones * self.checkpoint + self.final

    @property
    def peak(self) -> float:
        """Bytes at the fullest moment: at the last checkpoint, or when the final policy is written."""
        resumable = self.num_resumable * self.checkpoint
        return self.num_milestones * self.checkpoint + max(resumable, resumable - self.checkpoint + self.final)


@dataclass(frozen=True)
class StudyDisk:
    """Bytes of a study's train stage.

    Attributes:
        runs: by run id.
        kept: when every run is done.
        peak: at most, with the largest runs in flight last.
    """

    runs: dict[str, RunDisk]
    kept: float
    peak: float


def run_disk(params: Params, run: Run) -> RunDisk:
    """Disk space of a run; where pretrain has not counted the model yet, of its nominal size."""
    record, train, keep = _record(params, run), params.train, params.checkpoints
    total = float(record.total) if record else _nominal_parameters(params, run)
    trained = total
    if train.lora is not None and record is not None:
        shape = read_shape(StudyPaths.of(params).stage("pretrain") / record.path)
        trained = float(shape.adapters(train.lora.rank, train.lora.targets))
    every = keep.every or 1  # null: at worst after every step
    written = range(every, train.steps, every)
    milestones = [step for step in written if keep.keep_every is not None and step % keep.keep_every == 0]
    num_resumable = min(keep.keep_last + 1, len(written) - len(milestones))
    width = 2.0 if train.precision == "bfloat16" else 4.0
    return RunDisk(MASTER_BYTES * trained, width * total, num_resumable, len(milestones))


def study_disk(params: Params, in_flight: int | None = None) -> StudyDisk:
    """Disk space of all runs of the grid.

    Args:
        params: the study.
        in_flight: runs trained side by side; None: `hardware.workers`, else all of them.
    """
    runs = {run.run_id: run_disk(params, run) for run in expand_grid(params)}
    passing = sorted((disk.peak - disk.kept for disk in runs.values()), reverse=True)
    kept = sum(disk.kept for disk in runs.values())
    return StudyDisk(runs, kept, kept + sum(passing[: in_flight or params.hardware.workers or len(passing)]))


def require_disk(folder: Path, needed: float, what: str) -> None:
    """Refuses work whose files do not fit on the disk of its folder; what the folder holds already is not needed anew.

    Args:
        folder: the folder of the work; it need not exist yet.
        needed: bytes at the fullest moment.
        what: the work, as the message names it.

    Raises:
        InputError: with the folder, the space needed and the space free.
    """
    missing, free = needed - folder_bytes(folder), free_bytes(folder)
    if missing > free:
        raise InputError(
            f"{folder}: {what} needs {missing / GB:.4g} GB more and {free / GB:.4g} GB are free; lower "
            "checkpoints.keep_last, raise checkpoints.every or set study.data_root to a larger disk"
        )


def free_bytes(folder: Path) -> float:
    """Bytes free on the disk of a folder that need not exist yet."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return float(shutil.disk_usage(there).free)


def folder_bytes(folder: Path) -> float:
    """Bytes of the files below a folder; files that vanish meanwhile count for nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(parent, name).stat().st_size
            except FileNotFoundError:
                continue
    return float(total)


def _record(params: Params, run: Run) -> ModelRecord | None:
    """The model's record where pretrain is done."""
    folder = StudyPaths.of(params).stage("pretrain")
    return read_models(folder).get(run.model) if "models" in (read_manifest(folder) or {}) else None


def _nominal_parameters(params: Params, run: Run) -> float:
    return model_parameters(next(model for model in params.pretrain.family.models if model.name == run.size))
