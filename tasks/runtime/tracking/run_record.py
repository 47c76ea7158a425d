"""What a tracker is told about a run, as a function of the run's folder; knows no tracker.

Equal folders give equal records, so publishing twice, or replaying a finished study into an empty store, changes
nothing. Names hold only letters, digits and `_ - . /`: trackers refuse `@` and `%` (`pass@1` is `pass_at_1`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.records.metrics import CLOCK, StepMetrics, read_metrics
from tasks.records.models import read_models
from tasks.records.scores import Score, read_scores
from tasks.records.stopping import read_stopped
from tasks.study.fingerprints import run_fingerprint
from tasks.study.grid import Run
from tasks.study.manifests import MANIFEST, canonical_json, digest_text, is_locked, read_manifest
from tasks.study.params import Params
from tasks.study.paths import StudyPaths

SMALL_BYTES = 4_000_000
_FINAL = ("test_loss", "pass_at_1", "reward_mean", "completion_length", "data", "tokens", "compute", "flops_total")
_NOT_CURVES = {"step", "flops", "grading", "sampler_fingerprint", *CLOCK}


@dataclass(frozen=True)
class MetricPoint:
    """Values of one step.

    Attributes:
        step: the step.
        elapsed: seconds of work until the end of this step, summed over all steps so far.
        values: by metric name.
    """

    step: int
    elapsed: float
    values: dict[str, float]


@dataclass(frozen=True)
class RunRecord:
    """All a tracker shows of one run.

    Attributes:
        name: the run id.
        fingerprint: the run's fingerprint; a record with another one is another experiment.
        params: every axis of the grid and every train setting, by dotted name.
        tags: the axes, for grouping.
        dataset: name and digest of the problems trained on.
        points: the curves.
        digests: of the rows up to each one, clock values left out, to tell whether a store holds a prefix of these
            curves: a resumed run makes the same rows in other seconds.
        summary: last values, and scores where the run has been evaluated.
        files: small files of the folder.
        started_at: Unix seconds at which its evaluation before training began, by its rows; 0 where they do not say.
        ended_at: Unix seconds at which its last row was written; 0 where it does not say.
        done: whether the run has finished.
        stopped: why it was stopped by forecast, None where it was not.
        running: whether a process holds its lock.
    """

    name: str
    fingerprint: str
    params: dict[str, str]
    tags: dict[str, str]
    dataset: tuple[str, str]
    points: list[MetricPoint]
    digests: list[str]
    summary: dict[str, float]
    files: list[Path]
    started_at: float
    ended_at: float
    done: bool
    stopped: str | None
    running: bool


def read_record(params: Params, run: Run) -> RunRecord:
    """Reads what there is of a run, finished or in flight."""
    paths, fingerprint = StudyPaths.of(params), run_fingerprint(params, run)
    rows = read_metrics(paths.metrics(run))
    points, digests, elapsed, digest = [], [], 0.0, ""
    for row in rows:
        elapsed += sum(row.seconds.values())
        digest = digest_text(digest + canonical_json(row.outcome()))
        points.append(MetricPoint(row.step, elapsed, curves(row)))
        digests.append(digest)
    manifest = read_manifest(paths.run(run))
    axes = {name: str(value) for name, value in asdict(run).items() if name != "run_id"}
    sizes = read_models(paths.stage("pretrain"))[run.model] if read_manifest(paths.stage("pretrain")) else None
    numbers = {"n_params": str(sizes.n_params), "n_nominal": f"{sizes.nominal:g}"} if sizes else {}
    return RunRecord(
        name=run.run_id,
        fingerprint=fingerprint,
        params=axes | numbers | flatten(params.train.model_dump(mode="json"), "train"),
        tags=axes | {"run_id": run.run_id},
        dataset=_dataset(paths, run),
        points=points,
        digests=digests,
        summary=_summary(paths, run, rows),
        files=_files(paths, run),
        started_at=_started_at(rows),
        ended_at=(rows[-1].written_at or 0.0) if rows else 0.0,
        done=manifest is not None and manifest.get("fingerprint") == fingerprint,
        stopped=stop.reason if (stop := read_stopped(params, run)) else None,
        running=is_locked(paths.run(run)),
    )


def _started_at(rows: list[StepMetrics]) -> float:
    """By the row before training; a file's own time would say when it was copied here."""
    if not rows or rows[0].written_at is None:
        return 0.0
    return rows[0].written_at - sum(rows[0].seconds.values())


def curves(row: StepMetrics) -> dict[str, float]:
    """The numbers of a row by metric name; what the row does not have is left out."""
    values = {name: float(value) for name, value in asdict(row).items() if _is_curve(name, value)}
    if row.test_loss is not None:
        values["pass_at_1"] = 1.0 - row.test_loss
    if row.seconds:
        values["seconds"] = sum(row.seconds.values())
    return values


def flatten(value: Any, prefix: str) -> dict[str, str]:
    """Nested settings as text by dotted name, e.g. `train.objective.clip_low`."""
    if isinstance(value, Mapping):
        parts = [flatten(entry, f"{prefix}.{key}") for key, entry in value.items()]
        return {name: text for part in parts for name, text in part.items()}
    return {prefix: "null" if value is None else str(value)}


def numbers(value: Any, prefix: str = "") -> dict[str, float]:
    """The finite numbers of nested JSON by slashed name; texts, lists and flags are left out."""
    if isinstance(value, Mapping):
        parts = [numbers(entry, f"{prefix}/{key}" if prefix else str(key)) for key, entry in value.items()]
        return {name: number for part in parts for name, number in part.items()}
    return {prefix.replace("@", "_at_"): float(value)} if _is_number(value) else {}


def _is_curve(name: str, value: object) -> bool:
    return name not in _NOT_CURVES and _is_number(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _dataset(paths: StudyPaths, run: Run) -> tuple[str, str]:
    path = paths.train_problems if run.tau == 1 else paths.subset(run.tau)
    name = path.relative_to(paths.stage("prepare")).as_posix()
    manifest = read_manifest(paths.stage("prepare")) or {}
    return name, manifest.get("files", {}).get(name, {}).get("sha256", "unknown")


def _summary(paths: StudyPaths, run: Run, rows: list[StepMetrics]) -> dict[str, float]:
    values: dict[str, float] = {}
    for row in rows:  # the last value each curve had: the last step need not have evaluated
        values |= {f"final/{name}": value for name, value in curves(row).items() if name in _FINAL}
    if paths.scores.is_file():
        for score in read_scores(paths.scores):
            if score.run_id == run.run_id:
                values |= _score_values(score)
    return values


def _score_values(score: Score) -> dict[str, float]:
    values = {f"eval/{score.benchmark}/pass_at_{k}": value for k, value in score.pass_at_k.items()}
    named = {"pass_at_1": score.pass_at_1, "pass_at_1_low": score.low, "pass_at_1_high": score.high}
    if score.pass_at_1_lenient is not None:
        named["pass_at_1_lenient"] = score.pass_at_1_lenient
    named |= {"truncated": score.truncated, "mean_length": score.mean_length}
    return values | {f"eval/{score.benchmark}/{name}": value for name, value in named.items()}


def _files(paths: StudyPaths, run: Run) -> list[Path]:
    """The run's own small files; weights and checkpoints stay where they are."""
    folder = paths.run(run)
    names = [MANIFEST, paths.metrics(run).name, *(path.name for path in sorted(folder.glob("*.yaml")))]
    names += [path.name for path in sorted(folder.glob("*.json")) if path.name != MANIFEST]
    files = [folder / name for name in names]
    return [path for path in files if path.is_file() and path.stat().st_size <= SMALL_BYTES]
