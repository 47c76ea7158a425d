"""MLflow, as a view of the folders; the only importer of mlflow.

One experiment per study, one run per cell of the grid (named by its id) under one parent run that holds the fits and
the report. Publishing is a function of the folders: it can be repeated, interrupted or done anew into an empty store
(`rlscale sync`) with the same outcome. A store that cannot be reached costs a warning and nothing else.

Not covered: two processes that publish one study for the first time at the same moment.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from tasks.runtime.run_record import MetricPoint, RunRecord, numbers, read_record
from tasks.study.grid import Run, expand_grid
from tasks.study.manifests import atomic_path, digest_text, is_locked, manifest_digest
from tasks.study.params import Params
from tasks.study.paths import StudyPaths

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric
    from mlflow.entities import Run as TrackedRun

log = logging.getLogger(__name__)

RUN_TAG, FINGERPRINT_TAG, ROWS_TAG = "rlscale.run", "rlscale.fingerprint", "rlscale.rows"
DIGEST_TAG, SUMMARY_TAG, MODEL_TAG = "rlscale.digest", "rlscale.finals", "rlscale.model"
STOPPED_TAG = "rlscale.stopped"
PARENT = "study"
BATCH = 1000
CLOSING_SECONDS = 120.0


def store_uri(params: Params) -> str:
    """Where runs are published: MLFLOW_TRACKING_URI, else `tracking.uri`, else SQLite inside the data root."""
    return os.environ.get("MLFLOW_TRACKING_URI") or params.tracking.uri or f"sqlite:///{StudyPaths.of(params).tracking}"


@contextlib.contextmanager
def publishing(params: Params) -> Iterator[None]:
    """Publishes the runs in flight every `tracking.live_seconds` while the block runs, and all of them at its end."""
    if not params.tracking.enabled:
        yield
        return
    ended, cancelled = threading.Event(), threading.Event()
    thread = threading.Thread(target=_follow, args=(params, ended, cancelled), daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        cancelled.set()
        raise
    finally:
        ended.set()
        thread.join(timeout=5.0 if cancelled.is_set() else CLOSING_SECONDS)
        if thread.is_alive() and not cancelled.is_set():
            log.warning(
                "publishing to %s takes too long, left unfinished; `rlscale sync` completes it", store_uri(params)
            )


def publish_study(params: Params) -> bool:
    """Publishes every run, the fits and the report; tells whether the store took it all."""
    if not params.tracking.enabled:
        return False
    try:
        sync(params)
    except Exception as error:  # whatever a store can raise: the study's results do not depend on it
        log.warning("not published to %s (%s); `rlscale sync` does it later", store_uri(params), _one_line(error))
        return False
    return True


def sync(params: Params, uri: str | None = None) -> dict[str, int]:
    """Brings a store up to date with the folders.

    Args:
        params: the study.
        uri: the store; None for the study's own, see `store_uri`.

    Returns:
        How many runs were published and how many rows were added.
    """
    study = TrackedStudy(params, uri)
    runs = [run for run in expand_grid(params) if StudyPaths.of(params).metrics(run).is_file()]
    rows = sum(study.publish(read_record(params, run)) for run in runs)
    study.publish_parent()
    return {"runs": len(runs), "rows": rows}


def _follow(params: Params, ended: threading.Event, cancelled: threading.Event) -> None:
    """The publishing thread: one failure is told once, then only the end of the block tries again."""
    study: TrackedStudy | None = None
    sizes: dict[str, int] = {}
    lost = False
    while True:
        last_time = ended.wait(params.tracking.live_seconds)
        if cancelled.is_set():
            return
        if lost and not last_time:
            continue
        try:
            study = study or TrackedStudy(params)
            for run in expand_grid(params):
                _publish_if_grown(study, params, run, sizes)
            lost = False
        except Exception as error:  # whatever a store can raise: training does not depend on it
            lost = True
            log.warning("not published to %s (%s); `rlscale sync` does it later", store_uri(params), _one_line(error))
        if last_time:
            return


def _publish_if_grown(study: TrackedStudy, params: Params, run: Run, sizes: dict[str, int]) -> None:
    path = StudyPaths.of(params).metrics(run)
    size = path.stat().st_size if path.is_file() else 0
    finished = not is_locked(path.parent)
    state = size * 2 + finished
    if size and sizes.get(run.run_id) != state:
        study.publish(read_record(params, run))
        sizes[run.run_id] = state


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


class TrackedStudy:
    """A study in an MLflow store: its experiment, its parent run and the runs already there."""

    def __init__(self, params: Params, uri: str | None = None) -> None:
        """Connects, and creates what is missing before anybody writes.

        Raises:
            Exception: whatever the store raises when it cannot be reached.
        """
        self._params = params
        self._client = _client(uri or store_uri(params))
        self._experiment = self._open_experiment()
        existing = self._client.search_runs([self._experiment], max_results=5000)
        self._runs: dict[str, TrackedRun] = {
            run.data.tags[RUN_TAG]: run for run in existing if RUN_TAG in run.data.tags
        }
        if PARENT not in self._runs:
            self._runs[PARENT] = self._create(PARENT, params.study.name, {}, time.time())

    def publish(self, record: RunRecord) -> int:
        """Brings one run up to date and returns how many rows were added.

        A run in the store that is not a beginning of this one (other settings, rows that a resumed run has replaced)
        is deleted and published anew.
        """
        tracked = self._runs.get(record.name)
        if tracked is not None and not _is_beginning(tracked, record):
            self._client.delete_run(tracked.info.run_id)
            tracked = None
        if tracked is None:
            tracked = self._open_run(record)
        added = record.points[int(tracked.data.tags.get(ROWS_TAG, 0)) :]
        if added:
            self._log_points(tracked, added)
            self._tag(tracked, {ROWS_TAG: str(len(record.points)), DIGEST_TAG: record.digests[-1]})
        self._finish(tracked, record)
        return len(added)

    def publish_parent(self) -> None:
        """Publishes the fits' numbers and the files of fit and report into the parent run."""
        paths, tracked = StudyPaths.of(self._params), self._runs[PARENT]
        parent, metrics = tracked.info.run_id, paths.stage("fit") / "metrics.json"
        fingerprint = " ".join(manifest_digest(paths.stage(stage)) for stage in ("fit", "report"))
        if tracked.data.tags.get(FINGERPRINT_TAG) == fingerprint:
            return
        if metrics.is_file():
            values = numbers(yaml.safe_load(metrics.read_text(encoding="utf-8")))
            self._log_summary(parent, {f"fit/{name}": value for name, value in values.items()})
        for stage in ("fit", "report"):
            for path in sorted(paths.stage(stage).glob("*.*")):
                if not path.name.startswith("."):
                    self._client.log_artifact(parent, str(path), stage)
        self._client.log_text(parent, params_yaml(self._params), "params.yaml")
        if paths.report.is_file():
            self._client.set_terminated(parent, "FINISHED")
        self._tag(tracked, {FINGERPRINT_TAG: fingerprint})

    def _open_experiment(self) -> str:
        name = self._params.study.name
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        local = self._client.tracking_uri.startswith("sqlite:")
        location = (StudyPaths.of(self._params).root / "mlartifacts").as_uri() if local else None
        return str(self._client.create_experiment(name, artifact_location=location))

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
        ended = tracked.info.start_time + int(1000 * record.points[-1].elapsed) if record.points else None
        self._client.set_terminated(run_id, "FINISHED", ended)
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


def params_yaml(params: Params) -> str:
    """The whole params as YAML, without the data root: a path of this machine says nothing elsewhere."""
    return yaml.safe_dump(params.model_dump(mode="json", exclude={"study": {"data_root"}}), sort_keys=False)


def _client(uri: str) -> MlflowClient:
    # A dead server must cost seconds; MLflow's own defaults wait for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    if uri.startswith("sqlite:///"):
        _create_database(Path(uri.removeprefix("sqlite:///")))
    return MlflowClient(tracking_uri=uri)


def _create_database(path: Path) -> None:
    """Makes a new SQLite store under a temporary name: a kill on the way must not leave a half-made one forever."""
    if path.exists():
        return
    from mlflow import MlflowClient

    with atomic_path(path) as temporary:
        MlflowClient(tracking_uri=f"sqlite:///{temporary}").search_experiments(max_results=1)


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
