"""Runs of an MLflow store: a SQLite file, a folder `mlruns`, or a server's address; through mlflow itself."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tasks.imports.logged_run import ColumnBuilder, LoggedRun
from tasks.study.errors import InputError

_SQLITE = b"SQLite format 3\x00"


def is_store(path: Path) -> bool:
    """Whether a path is a SQLite file or a folder of MLflow's file store."""
    if path.is_dir():
        return path.name == "mlruns"
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(16) == _SQLITE


def read_store(path: Path) -> list[LoggedRun]:
    """The runs of all experiments that have metrics, with their params and tags as settings.

    Raises:
        InputError: mlflow is not installed, or the file is another program's database.
    """
    if importlib.util.find_spec("mlflow") is None:
        raise InputError(f"{path}: reading an MLflow store needs the package mlflow (pip install 'rlscale[study]')")
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{path.absolute()}" if path.is_file() else path.absolute().as_uri()
    client = MlflowClient(tracking_uri=uri)
    try:
        experiments = [experiment.experiment_id for experiment in client.search_experiments()]
        found = [run for run in _all_runs(client, experiments) if run.data.metrics]
    except MlflowException as error:
        raise InputError(f"{path}: not an MLflow store ({str(error).splitlines()[0]})") from None
    return [_read_run(client, run, str(path)) for run in found]


def _all_runs(client, experiments: list[str]):  # type: ignore[no-untyped-def]
    token = None
    while experiments:
        page = client.search_runs(experiments, page_token=token, order_by=["attributes.start_time ASC"])
        yield from page
        token = page.token
        if not token:
            return


def _read_run(client, run, source: str) -> LoggedRun:  # type: ignore[no-untyped-def]
    by_step: dict[int, dict[str, float]] = {}
    for key in sorted(run.data.metrics):
        for metric in client.get_metric_history(run.info.run_id, key):
            by_step.setdefault(metric.step, {})[key] = metric.value
    builder = ColumnBuilder()
    for step in sorted(by_step):
        builder.add(by_step[step] | {"step": float(step)})
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
    return LoggedRun(source, run.info.run_name or run.info.run_id, builder.columns(), dict(run.data.params) | tags)
