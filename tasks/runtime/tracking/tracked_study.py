"""`TrackedStudy`, a study in an MLflow store.

One experiment per study, one run per cell of the grid (named by its id) under one parent run that holds the fits and
the report. Publishing is a function of the folders: it can be repeated, interrupted or done anew into an empty store
(`rlscale sync`) with the same outcome. A store that cannot be reached costs a warning and nothing else. Processes that
publish one study take turns under the lock of its data root.

Not covered: two machines that publish copies of one study into one store at the same moment; the next `rlscale sync`
drops what is there twice.
"""

from __future__ import annotations

import getpass
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from tasks.records.findings import FindingsFile
from tasks.runtime.tracking.run_record import MetricPoint, RunRecord, numbers
from tasks.runtime.tracking.store import artifacts_beside, connect, discard_foreign_store, store_uri
from tasks.study.manifests import digest_text, manifest_digest, read_manifest
from tasks.study.params import Params
from tasks.study.paths import StudyPaths

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.entities import Run as TrackedRun

RUN_TAG, FINGERPRINT_TAG, ROWS_TAG = "rlscale.run", "rlscale.fingerprint", "rlscale.rows"
DIGEST_TAG, SUMMARY_TAG, MODEL_TAG = "rlscale.digest", "rlscale.finals", "rlscale.model"
STOPPED_TAG = "rlscale.stopped"
FIT_TAG, NOTE_TAG = "rlscale.fit", "mlflow.note.content"
PARENT = "study"
BATCH = 1000


class TrackedStudy:
    """A study in an MLflow store: its experiment, its parent run and the runs already there."""

    def __init__(self, params: Params, uri: str | None = None) -> None:
        """Connects, and creates what is missing before anybody writes.

        Raises:
            Exception: whatever the store raises when it cannot be reached.
        """
        self._params = params
        self._uri = uri or store_uri(params)
        discard_foreign_store(params, self._uri)
        self._client = connect(self._uri)
        self._experiment = self._open_experiment()
        self._runs: dict[str, TrackedRun] = {}
        self.refresh()
        if PARENT not in self._runs:
            self._runs[PARENT] = self._create(PARENT, params.study.name, origin_tags(), time.time())

    def refresh(self) -> None:
        """Reads which runs the store has; of those it has twice only the oldest stays."""
        self._runs = {}
        found = self._client.search_runs([self._experiment], max_results=5000)
        for run in sorted(found, key=lambda run: (run.info.start_time, run.info.run_id)):
            name = run.data.tags.get(RUN_TAG)
            if name is not None and self._runs.setdefault(name, run) is not run:
                self._client.delete_run(run.info.run_id)

    def publish(self, record: RunRecord) -> int:
        """Brings one run up to date and returns how many rows were added.

        A run in the store that is not a beginning of this one (other settings, other rows) is deleted and published
        anew. A resumed run, which makes the same rows again, keeps its run in the store.
        """
        tracked = self._runs.get(record.name)
        if tracked is not None and _is_behind(tracked, record):
            return 0
        if tracked is not None and not _is_beginning(tracked, record):
            self._client.delete_run(tracked.info.run_id)
            tracked = None
        if tracked is None:
            tracked = self._open_run(record)
        added = record.points[int(tracked.data.tags.get(ROWS_TAG, 0)) :]
        if added:
            self._log_points(tracked, added)
            self._tag(tracked, {ROWS_TAG: str(len(record.points)), DIGEST_TAG: record.digests[-1]})
        self._set_state(tracked, record)
        self._finish(tracked, record)
        return len(added)

    def _set_state(self, tracked: TrackedRun, record: RunRecord) -> None:
        """RUNNING while a process holds the run's lock; KILLED where it has stopped before its end."""
        state = "RUNNING" if record.running or record.done else "KILLED"
        if tracked.info.status != state and not (record.done and tracked.info.status == "FINISHED"):
            if state == "KILLED":
                self._client.set_terminated(tracked.info.run_id, state)
            else:
                self._client.update_run(tracked.info.run_id, status=state)

    def publish_parent(self) -> None:
        """Publishes the fits' numbers and the files of fit and report into the parent run."""
        paths, tracked = StudyPaths.of(self._params), self._runs[PARENT]
        parent = tracked.info.run_id
        fingerprint = " ".join(manifest_digest(paths.stage(stage)) for stage in ("fit", "report"))
        if tracked.data.tags.get(FINGERPRINT_TAG) == fingerprint:
            return
        tags = {FINGERPRINT_TAG: fingerprint, NOTE_TAG: self._note()}
        if (fit := self._publish_fit(parent)) is not None:
            tags[FIT_TAG] = fit
            self._log_fit_metrics(parent)
        for stage in ("fit", "report"):
            self._log_files(parent, stage)
        self._client.log_text(parent, params_yaml(self._params), "params.yaml")
        if paths.report.is_file():
            self._client.set_terminated(parent, "FINISHED")
        self._tag(tracked, tags)

    def _publish_fit(self, parent: str) -> str | None:
        """The run of this very fit, found by its digest: another experiment's fit keeps its own. None: no fit."""
        folder = StudyPaths.of(self._params).stage("fit")
        if read_manifest(folder) is None:
            return None
        name = f"fit-{digest_text(manifest_digest(folder))[:8]}"
        if name not in self._runs:
            tags = origin_tags() | {"mlflow.parentRunId": parent}
            self._runs[name] = self._create(name, name, tags, time.time())
        run_id = self._runs[name].info.run_id
        if self._runs[name].info.status != "FINISHED":
            self._log_fit_metrics(run_id)
            self._log_files(run_id, "fit")
            self._client.log_text(run_id, params_yaml(self._params), "params.yaml")
            self._client.set_terminated(run_id, "FINISHED")
        return run_id

    def _log_fit_metrics(self, run_id: str) -> None:
        metrics = StudyPaths.of(self._params).stage("fit") / "metrics.json"
        if metrics.is_file():
            values = numbers(yaml.safe_load(metrics.read_text(encoding="utf-8")))
            self._log_summary(run_id, {f"fit/{name}": value for name, value in values.items()})

    def _log_files(self, run_id: str, stage: str) -> None:
        for path in sorted(StudyPaths.of(self._params).stage(stage).glob("*.*")):
            if not path.name.startswith("."):
                self._client.log_artifact(run_id, str(path), stage)

    def _note(self) -> str:
        """The findings in words, shown as the description of the study's run."""
        path = StudyPaths.of(self._params).stage("fit")
        findings = FindingsFile.read(path).findings if read_manifest(path) is not None else []
        lines = [f"- {each.variant}: {each.statement}: **{each.verdict}**. {each.reason}" for each in findings]
        return "\n".join([f"{self._params.report.title}", "", *lines])

    def _open_experiment(self) -> str:
        experiment = self._client.get_experiment_by_name(self._params.study.name)
        if experiment is not None:
            return str(experiment.experiment_id)
        location = artifacts_beside(self._uri)
        return str(self._client.create_experiment(self._params.study.name, artifact_location=location))

    def _create(self, name: str, title: str, tags: dict[str, str], started_at: float) -> TrackedRun:
        return self._client.create_run(self._experiment, int(started_at * 1000), {RUN_TAG: name, **tags}, title)

    def _open_run(self, record: RunRecord) -> TrackedRun:
        from mlflow.entities import Param

        parent = self._runs[PARENT].info.run_id
        tags = record.tags | {FINGERPRINT_TAG: record.fingerprint, "mlflow.parentRunId": parent}
        tracked = self._create(record.name, record.name, tags, record.started_at or time.time())
        listed = [Param(name, value) for name, value in record.params.items()]
        self._client.log_batch(tracked.info.run_id, params=listed)
        self._log_dataset(tracked.info.run_id, record.dataset)
        self._runs[record.name] = tracked
        return tracked

    def _log_dataset(self, run_id: str, dataset: tuple[str, str]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        name, digest = dataset
        entry = Dataset(name=name, digest=digest[:36], source_type="local", source=f'{{"uri": "prepare/{name}"}}')
        self._client.log_inputs(run_id, [DatasetInput(entry, [InputTag("mlflow.data.context", "training")])])

    def _log_points(self, tracked: TrackedRun, points: list[MetricPoint]) -> None:
        metrics = [metric for point in points for metric in _metrics(point, tracked.info.start_time)]
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(tracked.info.run_id, metrics=metrics[start : start + BATCH])

    def _log_summary(self, run_id: str, values: dict[str, float]) -> None:
        """Values without a curve, stamped now: of equal steps MLflow shows the newest."""
        from mlflow.entities import Metric

        moment = int(1000 * time.time())
        metrics = [Metric(name, value, moment, 0) for name, value in values.items()]
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + BATCH])

    def _finish(self, tracked: TrackedRun, record: RunRecord) -> None:
        """Final values, files and the end of a finished run."""
        run_id, fingerprint = tracked.info.run_id, digest_text(f"{record.digests[-1:]}{sorted(record.summary.items())}")
        if not record.done or tracked.data.tags.get(SUMMARY_TAG) == fingerprint:
            return
        self._log_summary(run_id, record.summary)
        for path in record.files:
            self._client.log_artifact(run_id, str(path))
        self._client.log_text(run_id, params_yaml(self._params), "params.yaml")
        self._client.set_terminated(run_id, "FINISHED", int(1000 * record.ended_at) or None)
        self._log_model(tracked, record)
        closing = {} if record.stopped is None else {STOPPED_TAG: record.stopped}
        self._tag(tracked, closing | {SUMMARY_TAG: fingerprint})

    def _log_model(self, tracked: TrackedRun, record: RunRecord) -> None:
        """A model record that points at the checkpoint, without copying it. Names may not hold `.`, `/`, `:`."""
        if MODEL_TAG in tracked.data.tags:
            return
        tags = record.tags | {"mlflow.model.isExternal": "true", "checkpoint": f"train/{record.name}/final"}
        name = record.name.replace(".", "_")
        model = self._client.create_logged_model(self._experiment, name, tracked.info.run_id, tags, record.params)
        self._client.finalize_logged_model(model.model_id, "READY")
        self._tag(tracked, {MODEL_TAG: model.model_id})

    def _tag(self, tracked: TrackedRun, tags: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        self._client.log_batch(tracked.info.run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        tracked.data.tags.update(tags)


def origin_tags() -> dict[str, str]:
    """Who and what published a run, under the names by which MLflow shows them."""
    root = Path(__file__).resolve().parents[3]
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False) if (root / ".git").exists() else None
    tags = {"mlflow.source.name": "rlscale", "mlflow.source.type": "LOCAL", "mlflow.user": getpass.getuser()}
    if commit is not None and commit.returncode == 0:
        tags["mlflow.source.git.commit"] = commit.stdout.strip()
    return tags


def params_yaml(params: Params) -> str:
    """The whole params as YAML, without the data root: a path of this machine says nothing elsewhere."""
    return yaml.safe_dump(params.model_dump(mode="json", exclude={"study": {"data_root"}}), sort_keys=False)


def _is_behind(tracked: TrackedRun, record: RunRecord) -> bool:
    """Whether a run of the same settings was resumed and has not yet made again all rows that the store has."""
    tags = tracked.data.tags
    same = tags.get(FINGERPRINT_TAG) == record.fingerprint
    return same and not record.done and len(record.points) < int(tags.get(ROWS_TAG, 0))


def _is_beginning(tracked: TrackedRun, record: RunRecord) -> bool:
    """Whether the tracked run has this record's fingerprint and holds its first rows."""
    tags = tracked.data.tags
    num_rows = int(tags.get(ROWS_TAG, 0))
    if tags.get(FINGERPRINT_TAG) != record.fingerprint or num_rows > len(record.points):
        return False
    return num_rows == 0 or tags.get(DIGEST_TAG) == record.digests[num_rows - 1]


def _metrics(point: MetricPoint, started_at: int) -> list[Metric]:
    from mlflow.entities import Metric

    moment = started_at + int(1000 * point.elapsed)
    return [Metric(name, value, moment, point.step) for name, value in point.values.items()]
