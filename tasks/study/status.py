"""What of a study is done: read from the folders alone, by the same fingerprints that `tasks.study.manifests.once`
checks.

A stage consists of pieces (a run, a checkpoint, a run on a benchmark), each a folder with a manifest, and of the
stage's own manifest that collects them. Asking starts nothing and imports no torch, no prefect and no mlflow.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.study.fingerprints import VERSIONS, evaluate_mark, fit_mark, model_mark, prepare_mark, report_mark, run_mark
from tasks.study.grid import Run, expand_grid, longest_first
from tasks.study.manifests import fingerprint, valid
from tasks.study.params import Params
from tasks.study.paths import Layout


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
