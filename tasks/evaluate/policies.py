"""What is evaluated: the final policy of every run of the grid, and the initial checkpoints they started from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.records.models import read_models
from tasks.study.fingerprints import evaluate_fingerprint
from tasks.study.grid import Run, expand_grid
from tasks.study.manifests import is_complete
from tasks.study.params import Params, Variant
from tasks.study.paths import StudyPaths

INITIAL = "initial-"


@dataclass(frozen=True)
class Policy:
    """A policy to evaluate.

    Attributes:
        name: the run id, or `initial-<model>`; names the rows of `scores.parquet`.
        size: model size; subjects of one size share an architecture, so one engine serves them all.
        variant: base or instruct; decides how prompts are rendered.
        run_or_model: what the fingerprint is taken of, the run or the model's name.
    """

    name: str
    size: str
    variant: Variant
    run_or_model: Run | str

    def checkpoint(self, params: Params) -> Path:
        """Folder of the policy's weights.

        Raises:
            InputError: the model family has not been made or resolved yet.
        """
        layout = StudyPaths.of(params)
        if isinstance(self.run_or_model, Run):
            return layout.final(self.run_or_model)
        return layout.stage("pretrain") / read_models(layout.stage("pretrain"))[self.run_or_model].path


def list_policies(params: Params) -> list[Policy]:
    """Initial checkpoints first, then the runs, in the order of the grid."""
    runs = expand_grid(params)
    initial: dict[str, Policy] = {}
    for run in runs:
        initial.setdefault(run.model, Policy(INITIAL + run.model, run.size, run.variant, run.model))
    return [*initial.values(), *(Policy(run.run_id, run.size, run.variant, run) for run in runs)]


def benchmark_names(params: Params) -> list[str]:
    """The held-out set and the benchmarks of the params file, in order."""
    return ["heldout", *(benchmark.name for benchmark in params.prepare.benchmarks)]


def score_folder(params: Params, subject: Policy, benchmark: str, root: Path | None = None) -> Path:
    """Folder of a pair; `root` stands in for `data/evaluate` where an engine other than the study's was asked for."""
    folder = StudyPaths.of(params).samples(subject.name, benchmark).parent
    return folder if root is None else root / folder.relative_to(StudyPaths.of(params).stage("evaluate"))


def missing(params: Params, subject: Policy, benchmarks: list[str], root: Path | None = None) -> list[str]:
    """The benchmarks on which a subject has no valid score yet."""
    return [
        name
        for name in benchmarks
        if not is_complete(
            score_folder(params, subject, name, root), evaluate_fingerprint(params, subject.run_or_model, name)
        )
    ]
