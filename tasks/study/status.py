"""Which work of a study is done: read from the folders alone, by the fingerprints that `tasks.study.manifests.once`
checks.

A stage consists of work units (a run, an initial model, a policy on a benchmark), each a folder with a manifest, and
of the stage's own manifest that collects them. Asking starts nothing and imports no torch, no prefect and no mlflow.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.study.fingerprints import (
    VERSIONS,
    evaluate_fingerprint,
    fit_fingerprint,
    model_fingerprint,
    prepare_fingerprint,
    report_fingerprint,
    run_fingerprint,
)
from tasks.study.grid import ModelName, expand_grid, longest_first
from tasks.study.manifests import is_complete, make_fingerprint
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.study.policies import list_policies


@dataclass(frozen=True)
class WorkUnit:
    """A unit of work: its name within the stage, the folder it owns and the fingerprint that proves it done."""

    name: str
    folder: Path
    fingerprint: str

    @property
    def done(self) -> bool:
        """Whether the folder holds this work with all its files."""
        return is_complete(self.folder, self.fingerprint)


def work_units(params: Params, stage: str) -> list[WorkUnit]:
    """The units of work of a stage that owns more folders than its own: models, runs, policies on benchmarks."""
    paths = StudyPaths.of(params)
    if stage == "pretrain":
        return [WorkUnit(name, paths.model(name), model_fingerprint(params, name)) for name in model_names(params)]
    if stage == "train":
        return [WorkUnit(run.run_id, paths.run(run), run_fingerprint(params, run)) for run in expand_grid(params)]
    if stage == "evaluate":
        return [
            WorkUnit(
                f"{policy.name}/{benchmark}",
                paths.evaluation(policy, benchmark),
                evaluate_fingerprint(params, policy, benchmark),
            )
            for policy in list_policies(params)
            for benchmark in policy.benchmarks
        ]
    return []


def model_names(params: Params) -> list[str]:
    """The initial checkpoints the grid needs, largest first, all bases before the instructs that are made from them."""
    runs = longest_first(params, expand_grid(params))
    tiny = params.pretrain.family.kind == "tiny"
    bases = [ModelName.parse(run.model).base for run in runs if run.variant == "base" or tiny]
    return list(dict.fromkeys([*bases, *(run.model for run in runs if run.variant == "instruct")]))


def stage_fingerprint(params: Params, stage: str) -> str:
    """Fingerprint of a stage's own manifest; where the stage collects work units, it is made of theirs."""
    if stage == "prepare":
        return prepare_fingerprint(params)
    if stage == "fit":
        return fit_fingerprint(params, expand_grid(params))
    if stage == "report":
        return report_fingerprint(params)
    inputs = {unit.name: unit.fingerprint for unit in work_units(params, stage)}
    return make_fingerprint(stage, VERSIONS[stage], "collected", inputs)


def stage_done(params: Params, stage: str) -> bool:
    """Whether the stage's manifest and every unit of it prove the work done."""
    collected = is_complete(StudyPaths.of(params).stage(stage), stage_fingerprint(params, stage))
    return collected and all(unit.done for unit in work_units(params, stage))
