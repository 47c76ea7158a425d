"""What of a study is done: read from the folders alone, by the same fingerprints that `tasks.store.once` checks.

A stage consists of pieces (a run, a checkpoint, a run on a benchmark), each a folder with a manifest, and of the
stage's own manifest that collects them. Asking starts nothing and imports no torch, no prefect and no mlflow.
"""

from __future__ import annotations

import fcntl
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.grid import Run, expand_grid, longest_first
from tasks.identity import (
    VERSIONS,
    evaluate_mark,
    fit_mark,
    model_mark,
    prepare_mark,
    report_mark,
    run_mark,
)
from tasks.layout import Layout
from tasks.params import Params
from tasks.records import StepMetrics, read_metrics
from tasks.store import LOCK, fingerprint, valid

Progress = Literal["done", "running", "stopped", "waiting"]


@dataclass(frozen=True)
class Piece:
    """A unit of work: its name within the stage, the folder it owns and the fingerprint that proves it done."""

    name: str
    folder: Path
    mark: str

    @property
    def done(self) -> bool:
        """Whether the folder holds this work, whole."""
        return valid(self.folder, self.mark)


def pieces(params: Params, stage: str) -> list[Piece]:
    """The units of work of a stage that owns more folders than its own: models, runs, runs on benchmarks."""
    layout, runs = Layout.of(params), expand_grid(params)
    if stage == "pretrain":
        return [Piece(name, layout.model(name), model_mark(params, name)) for name in model_names(params)]
    if stage == "train":
        return [Piece(run.run_id, layout.run(run), run_mark(params, run)) for run in runs]
    if stage == "evaluate":
        benchmarks = ["heldout", *(benchmark.name for benchmark in params.prepare.benchmarks)]
        subjects: list[tuple[str, Run | str]] = [
            (f"initial-{name}", name) for name in dict.fromkeys(run.model for run in runs)
        ]
        subjects += [(run.run_id, run) for run in runs]
        return [
            Piece(f"{name}/{benchmark}", layout.samples(name, benchmark).parent, evaluate_mark(params, work, benchmark))
            for name, work in subjects
            for benchmark in benchmarks
        ]
    return []


def model_names(params: Params) -> list[str]:
    """The initial checkpoints the grid needs, largest first, all bases before the instructs that are made from them."""
    runs = longest_first(params, expand_grid(params))
    bases = [f"{run.size}-base" for run in runs if run.variant == "base" or params.pretrain.family.kind == "tiny"]
    return list(dict.fromkeys([*bases, *(run.model for run in runs if run.variant == "instruct")]))


def stage_mark(params: Params, stage: str) -> str:
    """Fingerprint of a stage's own manifest; where the stage collects pieces, it is made of their fingerprints."""
    if stage == "prepare":
        return prepare_mark(params)
    if stage == "fit":
        return fit_mark(params, expand_grid(params))
    if stage == "report":
        return report_mark(params)
    marks = {piece.name: piece.mark for piece in pieces(params, stage)}
    return fingerprint(stage, VERSIONS[stage], "collected", marks)


def stage_done(params: Params, stage: str) -> bool:
    """Whether the stage's manifest and every piece of it prove the work done."""
    whole = valid(Layout.of(params).stage(stage), stage_mark(params, stage))
    return whole and all(piece.done for piece in pieces(params, stage))


@dataclass(frozen=True)
class RunState:
    """Progress of a run of the grid.

    Attributes:
        run: the run.
        progress: done; running (its folder is locked by a live process); stopped (has steps, no process works on it);
            waiting (nothing there).
        steps: steps whose row is on disk.
        first: the row before training, None where there is none.
        last: the newest row.
    """

    run: Run
    progress: Progress
    steps: int
    first: StepMetrics | None
    last: StepMetrics | None


def run_state(params: Params, run: Run) -> RunState:
    """Reads a run's state from its folder."""
    layout = Layout.of(params)
    rows = read_metrics(layout.metrics(run))
    last = rows[-1] if rows else None
    progress: Progress = "stopped" if rows else "waiting"
    if valid(layout.run(run), run_mark(params, run)):
        progress = "done"
    elif is_locked(layout.run(run)):
        progress = "running"
    return RunState(run, progress, last.step if last else 0, rows[0] if rows else None, last)


def is_locked(folder: Path) -> bool:
    """Whether a live process holds the folder's lock."""
    try:
        with (folder / LOCK).open("r") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
