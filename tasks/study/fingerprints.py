"""What decides each unit of work: the fingerprints of all stages.

The same fingerprint marks a finished folder (`tasks.study.manifests.once`), keys Prefect's cache and tells `rlscale
status` what is done. Raise a stage's version when its code changes what it writes; a refactor with equal results
leaves it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.study.grid import ModelName, Run, model_spec, scientific_settings
from tasks.study.manifests import digest_file, make_fingerprint, manifest_digest
from tasks.study.params import Params
from tasks.study.params.reader import LOCAL_PATHS
from tasks.study.paths import StudyPaths
from tasks.study.policies import StudyPolicy, find_benchmark

VERSIONS = {"prepare": "1", "pretrain": "2", "train": "3", "evaluate": "2", "fit": "3", "report": "4"}

GRADER_VERSION = "3"
"""Goes up whenever any verdict of `tasks.grading` may change."""

SAMPLING_FIELDS = {"samples", "temperature", "top_p", "max_completion_tokens"}
"""Of a benchmark: they decide how it is evaluated, not what is in it."""


def prepare_fingerprint(params: Params) -> str:
    """Problems: the prepare block without how benchmarks are sampled, prompts per run, reuse factors, local files."""
    factors = params.grid.reuse.factors if params.grid.reuse else ()
    shape = {
        "prompts": params.train.steps * params.train.batch,
        "batch": params.train.batch,
        "factors": sorted(factors),
    }
    shape |= {"longest": params.train.sampling.max_prompt_tokens, "grader": GRADER_VERSION}
    block = _paths_to_digests(
        params.prepare.model_dump(mode="json", exclude={"benchmarks": {"__all__": SAMPLING_FIELDS}})
    )
    return make_fingerprint("prepare", VERSIONS["prepare"], {"prepare": block, **shape})


def _paths_to_digests(value: Any, key: str = "") -> Any:
    """The prepare block with digests in place of the names of local files: moving a file changes nothing."""
    if isinstance(value, dict):
        return {name: _paths_to_digests(entry, name) for name, entry in value.items()}
    if isinstance(value, list):
        return [_paths_to_digests(entry) for entry in value]
    if key in LOCAL_PATHS and isinstance(value, str):
        file = Path(value, "tokenizer.json") if key == "tokenizer" else Path(value)
        return digest_file(file) if file.is_file() else value
    return value


def model_fingerprint(params: Params, name: str) -> str:
    """An initial checkpoint: its spec, recipe and seed; one trained here also depends on the problems."""
    spec, variant = model_spec(params, name)
    family = params.pretrain.family
    values: dict[str, object] = {"spec": spec.model_dump(mode="json"), "variant": variant}
    inputs = {}
    if family.kind == "tiny":
        values |= family.model_dump(mode="json", exclude={"models", "seeds"})
        if (seed := ModelName.parse(name).seed) is not None:
            values["model_seed"] = seed
        values["lengths"] = params.train.sampling.model_dump(mode="json")
        inputs["prepare"] = manifest_digest(StudyPaths.of(params).stage("prepare"))
    return make_fingerprint("pretrain", VERSIONS["pretrain"], values, inputs)


def run_fingerprint(params: Params, run: Run) -> str:
    """A training run: all scientific values, its initial checkpoint, its problems, the grader."""
    paths = StudyPaths.of(params)
    inputs = {
        "prepare": manifest_digest(paths.stage("prepare")),
        "model": manifest_digest(paths.model(run.model)),
        "grader": GRADER_VERSION,
    }
    return make_fingerprint("train", VERSIONS["train"], scientific_settings(params, run), inputs)


def evaluate_fingerprint(params: Params, policy: StudyPolicy, benchmark: str) -> str:
    """A policy on a benchmark (or `heldout`)."""
    paths = StudyPaths.of(params)
    spec = find_benchmark(params, benchmark)
    values = {
        "evaluate": params.evaluate.model_dump(mode="json"),
        "benchmark": spec.model_dump(mode="json") if spec else benchmark,
        "style": params.train.prompt_style.model_dump(mode="json")[policy.variant],
        "lengths": params.train.sampling.model_dump(mode="json"),
    }
    inputs = {
        "prepare": manifest_digest(paths.stage("prepare")),
        "run" if policy.run else "model": manifest_digest(paths.policy(policy)),
        "grader": GRADER_VERSION,
    }
    return make_fingerprint("evaluate", VERSIONS["evaluate"], values, inputs)


def fit_fingerprint(params: Params, runs: list[Run]) -> str:
    """The laws: the fit block and the metrics of every run of the grid."""
    paths = StudyPaths.of(params)
    inputs = {run.run_id: manifest_digest(paths.run(run)) for run in runs}
    return make_fingerprint("fit", VERSIONS["fit"], params.fit.model_dump(mode="json"), inputs)


def report_fingerprint(params: Params) -> str:
    """The page: the report block, the fits and the scores."""
    paths = StudyPaths.of(params)
    inputs = {stage: manifest_digest(paths.stage(stage)) for stage in ("prepare", "pretrain", "fit", "evaluate")}
    return make_fingerprint("report", VERSIONS["report"], params.report.model_dump(mode="json"), inputs)
