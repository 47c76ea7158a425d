"""Which MLflow store a study is published into, and the connection to it."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.study.errors import InputError
from tasks.study.manifests import atomic_path
from tasks.study.params import Params
from tasks.study.paths import StudyPaths

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

SQLITE = "sqlite:///"


def store_uri(params: Params) -> str:
    """Where runs are published: MLFLOW_TRACKING_URI, else `tracking.uri`, else SQLite inside the data root.

    A queued DVC experiment works in a temporary copy of the repository; it publishes into the repository's own store.
    """
    configured = os.environ.get("MLFLOW_TRACKING_URI") or params.tracking.uri
    return configured or f"sqlite:///{lasting_root(params.root) / StudyPaths.of(params).tracking.name}"


def lasting_root(root: Path) -> Path:
    """The data root, or of one below `.dvc/tmp/exps/<kind>/<copy>/` the one at its place in the repository."""
    parts = root.parts
    for index in range(len(parts) - 4):
        if parts[index : index + 3] == (".dvc", "tmp", "exps"):
            return Path(*parts[:index], *parts[index + 5 :])
    return root


def artifacts_beside(uri: str) -> str | None:
    """Where a SQLite store keeps its artifacts: `mlartifacts` beside the file; None: a server decides."""
    if not uri.startswith(SQLITE):
        return None
    return (Path(uri.removeprefix(SQLITE)).absolute().parent / "mlartifacts").as_uri()


def connect(uri: str) -> MlflowClient:
    """A client of a store; a SQLite store that is not there is made first."""
    # A dead server must cost seconds; MLflow's own defaults wait for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it logs tracebacks of what it raises
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


def experiment_id(params: Params) -> str:
    """The study's experiment in its store.

    Raises:
        InputError: nothing of the study has been published.
    """
    uri = store_uri(params)
    experiment = connect(uri).get_experiment_by_name(params.study.name)
    if experiment is None:
        raise InputError(f"{uri}: no experiment {params.study.name!r}; `rlscale sync` publishes what there is")
    return str(experiment.experiment_id)


def discard_foreign_store(params: Params, uri: str) -> bool:
    """Removes the study's own store where it came here with a copied or moved data root.

    MLflow keeps absolute paths: such a store would write into the folder it came from. The folders are the truth, so
    publishing makes it anew.

    Returns:
        Whether a store was removed.
    """
    path = Path(uri.removeprefix(SQLITE))
    if not uri.startswith(SQLITE) or path != StudyPaths.of(params).tracking or not path.is_file():
        return False
    with contextlib.closing(sqlite3.connect(path)) as connection:
        query = "select artifact_location from experiments where name = ?"
        rows = connection.execute(query, (params.study.name,)).fetchall()
    if not rows or rows[0][0] == artifacts_beside(uri):
        return False
    log.warning("%s: its artifacts lie in %s; made anew from the folders", path, rows[0][0])
    shutil.rmtree(path.parent / "mlartifacts", ignore_errors=True)
    path.unlink()
    return True
