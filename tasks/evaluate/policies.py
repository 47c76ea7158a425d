"""What is evaluated: the final policy of every run of the grid, and the initial checkpoints they started from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.records.models import read_models
from tasks.study.fingerprints import evaluate_mark
from tasks.study.grid import Run, expand_grid
from tasks.study.manifests import valid
from tasks.study.params import Params, Variant
from tasks.study.paths import Layout

INITIAL = "initial-"


@dataclass(frozen=True)
class Subject:
    """A policy to evaluate.

    Attributes:
        name: the run id, or `initial-<model>`; names the rows of `scores.parquet`.
        size: model size; subjects of one size share an architecture, so one engine serves them all.
        variant: base or instruct; decides how prompts are rendered.
        work: what the fingerprint is taken of, the run or the model's name.
    """

    name: str
    size: str
    variant: Variant
    work: Run | str

    def checkpoint(self, params: Params) -> Path:
        """Folder of the policy's weights.

        Raises:
            InputError: the model family has not been made or resolved yet.
        """
        layout = Layout.of(params)
        if isinstance(self.work, Run):
            return layout.final(self.work)
        return layout.stage("pretrain") / read_models(layout.stage("pretrain"))[self.work].path


def list_subjects(params: Params) -> list[Subject]:
    """Initial checkpoints first, then the runs, in the order of the grid."""
    runs = expand_grid(params)
    initial: dict[str, Subject] = {}
    for run in runs:
        initial.setdefault(run.model, Subject(INITIAL + run.model, run.size, run.variant, run.model))
    return [*initial.values(), *(Subject(run.run_id, run.size, run.variant, run) for run in runs)]


def benchmark_names(params: Params) -> list[str]:
    """The held-out set and the benchmarks of the params file, in order."""
    return ["heldout", *(benchmark.name for benchmark in params.prepare.benchmarks)]


def folder_of(params: Params, subject: Subject, benchmark: str, root: Path | None = None) -> Path:
    """Folder of a pair; `root` stands in for `data/evaluate` where an engine other than the study's was asked for."""
    folder = Layout.of(params).samples(subject.name, benchmark).parent
    return folder if root is None else root / folder.relative_to(Layout.of(params).stage("evaluate"))


def missing(params: Params, subject: Subject, benchmarks: list[str], root: Path | None = None) -> list[str]:
    """The benchmarks on which a subject has no valid score yet."""
    return [
        name
        for name in benchmarks
        if not valid(folder_of(params, subject, name, root), evaluate_mark(params, subject.work, name))
    ]
