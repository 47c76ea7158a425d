"""The tracker is a view of the folders: publishing twice, late, or into an empty store gives the same runs."""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as TrackedRun
from support.recorded_study import STARTED_AT, forget_run, make_recorded_study, record_run

from flows.cli.main import main
from tasks.runtime.tracking.publishing import publish_study, publishing, sync
from tasks.runtime.tracking.run_record import flatten, numbers, read_record
from tasks.runtime.tracking.store import lasting_root, store_uri
from tasks.runtime.tracking.tracked_study import RUN_TAG, STOPPED_TAG, TrackedStudy
from tasks.study.grid import expand_grid
from tasks.study.manifests import folder_lock, write_json, write_manifest
from tasks.study.params import Params, load_params
from tasks.study.paths import StudyPaths

CURVE = "test_loss"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new store, made once: the tables take seconds."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(autouse=True)
def _own_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty_store: Path) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "data").mkdir()
    for copy in (tmp_path / "data" / "mlflow.db", tmp_path / "fresh.db"):
        shutil.copy(empty_store, copy)


def runs_of(params: Params, uri: str) -> dict[str, TrackedRun]:
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(params.study.name)
    return {run.data.tags[RUN_TAG]: run for run in client.search_runs([experiment.experiment_id])}


def history(uri: str, run: TrackedRun, name: str = CURVE) -> list[tuple[int, float]]:
    points = MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.value) for point in points)


def content(params: Params, uri: str) -> dict[str, object]:
    """All that a reader of the store sees of the grid's runs, without the store's own identifiers."""
    seen: dict[str, object] = {}
    for name, run in runs_of(params, uri).items():
        curves = {metric: history(uri, run, metric) for metric in run.data.metrics}
        inputs = [(entry.dataset.name, entry.dataset.digest) for entry in run.inputs.dataset_inputs]
        files = sorted(entry.path for entry in MlflowClient(tracking_uri=uri).list_artifacts(run.info.run_id))
        tags = {
            key: value for key, value in run.data.tags.items() if not key.startswith("mlflow") and "model" not in key
        }
        seen[name] = (run.info.status, run.data.params, tags, curves, inputs, files)
    return seen


def test_a_replay_into_a_fresh_store_equals_the_original(tmp_path: Path) -> None:
    params = make_recorded_study(tmp_path)
    assert publish_study(params)
    fresh = f"sqlite:///{tmp_path}/fresh.db"
    counted = sync(params, fresh)
    runs = expand_grid(params)
    assert counted == {"runs": len(runs), "rows": 5 * len(runs)}
    assert content(params, fresh) == content(params, store_uri(params))


def test_publishing_again_adds_nothing(tmp_path: Path) -> None:
    params = make_recorded_study(tmp_path)
    sync(params)
    before = content(params, store_uri(params))
    assert sync(params)["rows"] == 0
    assert content(params, store_uri(params)) == before


def test_a_run_that_was_stopped_by_forecast_is_tagged_with_the_reason_and_no_other(tmp_path: Path) -> None:
    params = make_recorded_study(tmp_path)
    first, second = (read_record(params, run) for run in expand_grid(params)[:2])
    study = TrackedStudy(params)
    study.publish(replace(first, stopped="stopped by forecast at step 2 of 4"))
    study.publish(second)
    tags = {name: run.data.tags for name, run in runs_of(params, store_uri(params)).items()}
    assert tags[first.name][STOPPED_TAG] == "stopped by forecast at step 2 of 4"
    assert STOPPED_TAG not in tags[second.name]


def test_every_run_is_named_by_its_id_below_one_parent_with_axes_as_params_and_tags(tmp_path: Path) -> None:
    params = make_recorded_study(tmp_path)
    sync(params)
    tracked = runs_of(params, store_uri(params))
    parent = tracked.pop("study")
    assert set(tracked) == {run.run_id for run in expand_grid(params)}
    for run in expand_grid(params):
        seen = tracked[run.run_id]
        assert seen.info.run_name == run.run_id
        assert seen.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert seen.data.params["tau"] == seen.data.tags["tau"] == str(run.tau)
        assert seen.data.params["train.objective.clip_low"] == "0.2"
        assert seen.data.metrics["final/pass_at_1"] == pytest.approx(0.5)
        assert seen.info.status == "FINISHED"


def test_the_dataset_of_a_run_is_the_subset_it_sees(tmp_path: Path) -> None:
    params = make_recorded_study(tmp_path)
    sync(params)
    tracked = runs_of(params, store_uri(params))
    once, twice = (next(run for run in expand_grid(params) if run.tau == tau) for tau in (1, 2))
    digests = {}
    for run in (once, twice):
        entry = tracked[run.run_id].inputs.dataset_inputs[0].dataset
        name, digest = read_record(params, run).dataset
        assert (entry.name, entry.digest) == (name, digest[:36])
        digests[entry.name] = entry.digest
    assert set(digests) == {"train.parquet", "reuse/tau_2.parquet"}
    assert len(set(digests.values())) == 2


def test_a_run_in_flight_is_published_up_to_its_last_row_and_completed_later(tmp_path: Path) -> None:
    params = make_recorded_study(tmp_path)
    run = expand_grid(params)[0]
    forget_run(params, run)
    record_run(params, run, 2, done=False)
    sync(params)
    uri = store_uri(params)
    assert [step for step, _ in history(uri, runs_of(params, uri)[run.run_id])] == [0, 1, 2]
    assert runs_of(params, uri)[run.run_id].info.status == "KILLED", "no process holds its lock"
    record_run(params, run, 4)
    assert sync(params)["rows"] == 2
    tracked = runs_of(params, uri)[run.run_id]
    assert [step for step, _ in history(uri, tracked)] == [0, 1, 2, 3, 4]
    assert tracked.info.status == "FINISHED"


def test_rows_that_a_resumed_run_replaced_do_not_stay_in_the_store(tmp_path: Path) -> None:
    params = make_recorded_study(tmp_path)
    run = expand_grid(params)[0]
    sync(params)
    record_run(params, run, 4, offset=0.05)
    sync(params)
    uri = store_uri(params)
    assert history(uri, runs_of(params, uri)[run.run_id])[-1] == (4, pytest.approx(0.55))
    assert len(history(uri, runs_of(params, uri)[run.run_id])) == 5


def test_an_unreachable_store_gives_a_warning_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    params = make_recorded_study(tmp_path, uri="http://127.0.0.1:9", live_seconds=0.01)
    began = time.monotonic()
    with publishing(params):
        pass
    assert not publish_study(params)
    assert time.monotonic() - began < 30
    assert "rlscale sync" in caplog.text


def test_an_error_in_the_work_is_not_held_up_by_publishing(tmp_path: Path) -> None:
    params = make_recorded_study(tmp_path, live_seconds=1000.0)
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError), publishing(params):
        raise ZeroDivisionError
    assert time.monotonic() - began < 6


def test_live_publishing_shows_runs_before_the_work_ends(tmp_path: Path) -> None:
    params = make_recorded_study(tmp_path, live_seconds=0.05)
    TrackedStudy(params)
    deadline = time.monotonic() + 60
    with publishing(params):
        while len(runs_of(params, store_uri(params))) < 1 + len(expand_grid(params)):
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_tracking_that_is_switched_off_writes_no_store(tmp_path: Path) -> None:
    params = make_recorded_study(tmp_path, enabled=False)
    (params.root / "mlflow.db").unlink()
    with publishing(params):
        pass
    assert not publish_study(params)
    assert not (params.root / "mlflow.db").exists()


def test_runs_are_dated_by_their_rows_and_not_by_their_files(tmp_path: Path) -> None:
    params = make_recorded_study(tmp_path)
    sync(params)
    tracked = runs_of(params, store_uri(params))[expand_grid(params)[0].run_id]
    assert (tracked.info.start_time, tracked.info.end_time) == (1000 * STARTED_AT, 1000 * (STARTED_AT + 8.5))


def test_the_environment_chooses_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = make_recorded_study(tmp_path, uri="http://configured")
    assert store_uri(params) == "http://configured"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://other")
    assert store_uri(params) == "http://other"


def test_names_hold_nothing_a_tracker_refuses(tmp_path: Path) -> None:
    params = make_recorded_study(tmp_path)
    record = read_record(params, expand_grid(params)[0])
    names = [*record.params, *record.tags, *record.summary, *record.points[-1].values]
    names += numbers({"pass@1": 0.5, "a": {"b": 1}})
    assert not [name for name in names if set(name) & set("@%")]


def test_settings_are_flattened_by_dotted_name() -> None:
    assert flatten({"a": {"b": None, "c": 1}}, "train") == {"train.a.b": "null", "train.a.c": "1"}


def test_only_numbers_of_nested_json_become_metrics() -> None:
    assert numbers({"r2": {"base": 0.5, "text": "x"}, "flag": True, "list": [1]}) == {"r2/base": 0.5}


_PUBLISH = "import sys; from pathlib import Path; from tasks.runtime.tracking.publishing import sync; \
from tasks.study.params import load_params; sync(load_params(Path(sys.argv[1])))"


def test_two_processes_that_publish_at_once_leave_every_run_once(tmp_path: Path) -> None:
    params = make_recorded_study(tmp_path)
    command = [sys.executable, "-c", _PUBLISH, str(tmp_path / "params.yaml")]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    client = MlflowClient(tracking_uri=store_uri(params))
    experiment = client.get_experiment_by_name(params.study.name)
    names = sorted(run.data.tags[RUN_TAG] for run in client.search_runs([experiment.experiment_id]))
    assert names == sorted(["study", *(run.run_id for run in expand_grid(params))])


def test_what_a_store_has_twice_is_dropped(tmp_path: Path) -> None:
    params = make_recorded_study(tmp_path)
    sync(params)
    client = MlflowClient(tracking_uri=store_uri(params))
    experiment = client.get_experiment_by_name(params.study.name).experiment_id
    before = {run.info.run_id for run in client.search_runs([experiment])}
    run = expand_grid(params)[0]
    client.create_run(experiment, tags={RUN_TAG: run.run_id}, run_name=run.run_id)
    sync(params)
    assert {run.info.run_id for run in client.search_runs([experiment])} == before


def test_a_copied_study_writes_into_its_own_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    params = make_recorded_study(tmp_path)
    sync(params)
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(tmp_path / "params.yaml", copy)
    shutil.copytree(tmp_path / "data", copy / "data")
    original = sorted(path for path in (tmp_path / "data").rglob("*") if path.is_file())
    copied = load_params(copy / "params.yaml")
    assert sync(copied)["runs"] == len(expand_grid(params))
    assert "made anew from the folders" in caplog.text
    experiment = MlflowClient(tracking_uri=store_uri(copied)).get_experiment_by_name(params.study.name)
    assert experiment.artifact_location == (copy / "data" / "mlartifacts").as_uri()
    assert content(copied, store_uri(copied)) == content(params, store_uri(params))
    assert sorted(path for path in (tmp_path / "data").rglob("*") if path.is_file()) == original


def test_a_stopped_run_is_killed_in_the_store_and_keeps_its_id_when_resumed(tmp_path: Path) -> None:
    params = make_recorded_study(tmp_path)
    run, uri = expand_grid(params)[0], store_uri(params)
    forget_run(params, run)
    record_run(params, run, 3, done=False)
    sync(params)
    stopped = runs_of(params, uri)[run.run_id]
    assert stopped.info.status == "KILLED"
    with folder_lock(StudyPaths.of(params).run(run)):
        record_run(params, run, 2, done=False)  # resumed from a checkpoint before the last row
        sync(params)
        assert [step for step, _ in history(uri, stopped)] == [0, 1, 2, 3]
        record_run(params, run, 4, done=False)
        sync(params)
        assert runs_of(params, uri)[run.run_id].info.status == "RUNNING"
    record_run(params, run, 4)
    sync(params)
    ended = runs_of(params, uri)[run.run_id]
    assert (ended.info.run_id, ended.info.status) == (stopped.info.run_id, "FINISHED")
    assert [step for step, _ in history(uri, ended)] == [0, 1, 2, 3, 4]


def test_every_fit_has_a_run_of_its_own_found_by_its_fingerprint(tmp_path: Path) -> None:
    params = make_recorded_study(tmp_path)
    folder = StudyPaths.of(params).stage("fit")
    for value in (0.1, 0.2, 0.1):  # an experiment, another one, and the first checked out again
        write_json(folder / "metrics.json", {"base": {"Kmax": value}})
        write_json(folder / "findings.json", {"findings": [], "reuse": [], "pairs": []})
        write_manifest(folder, "fit", "f", ["metrics.json"], {})
        sync(params)
        tracked = runs_of(params, store_uri(params))
        assert tracked["study"].data.metrics["fit/base/Kmax"] == value
    fits = {name: run for name, run in tracked.items() if name.startswith("fit-")}
    assert sorted(run.data.metrics["fit/base/Kmax"] for run in fits.values()) == [0.1, 0.2]
    current = tracked["study"].data.tags["rlscale.fit"]
    assert next(run for run in fits.values() if run.info.run_id == current).data.metrics["fit/base/Kmax"] == 0.1


def test_the_charts_of_a_study_can_be_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params = make_recorded_study(tmp_path)
    path = str(tmp_path / "params.yaml")
    with pytest.raises(SystemExit) as ended:
        main(["ui", "--params", path])
    assert ended.value.code == 2
    assert "no experiment 'small'; `rlscale sync` publishes what there is" in capsys.readouterr().err
    sync(params)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", "from flows.cli.main import main; main()", "ui", "--params", path]
    with subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        page, _, fragment = server.stdout.readline().split(": ", 1)[1].partition("#")
        deadline = time.monotonic() + 60
        while True:
            try:
                assert urllib.request.urlopen(page, timeout=5).status == 200
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.3)
        server.terminate()
    assert fragment.startswith("/experiments/1/runs?workflowType=machine_learning")


def test_a_queued_experiment_publishes_into_the_repositorys_store() -> None:
    copy = Path("/home/me/study/.dvc/tmp/exps/standalone/tmpa1b2/data")
    assert lasting_root(copy) == Path("/home/me/study/data")
    assert lasting_root(Path("/home/me/study/data")) == Path("/home/me/study/data")


def refused_sync(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[dict[str, str], str]:
    """What a sync that ends with 1 says on standard output and standard error."""
    with pytest.raises(SystemExit) as ended:
        main(["sync", "--params", str(path), "--json", *options])
    assert ended.value.code == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("rlscale: not published to ")
    assert shown.err.count("\n") == 1
    return json.loads(shown.out), shown.err


def test_sync_says_as_json_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params = make_recorded_study(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["sync", "--params", str(tmp_path / "params.yaml"), "--json"])
    runs = len(expand_grid(params))
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out) == {"runs": runs, "rows": 5 * runs, "uri": store_uri(params)}


def test_sync_says_in_one_sentence_that_a_store_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    make_recorded_study(tmp_path)
    said, _ = refused_sync(tmp_path / "params.yaml", capsys, "--uri", "http://127.0.0.1:9")
    assert said["uri"] == "http://127.0.0.1:9"
    assert "127.0.0.1" in said["error"]


def test_sync_says_in_one_sentence_that_a_store_is_locked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params = make_recorded_study(tmp_path)
    with contextlib.closing(sqlite3.connect(params.root / "mlflow.db", isolation_level=None)) as holder:
        holder.execute("begin exclusive")
        said, _ = refused_sync(tmp_path / "params.yaml", capsys)
    assert "database is locked" in said["error"]
    assert sync(params)["runs"] == len(expand_grid(params))


def test_sync_says_in_one_sentence_that_a_store_is_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params = make_recorded_study(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((params.root / "mlflow.db").stat().st_size, before[1]))
    try:  # no file can grow beyond the store's size
        said, _ = refused_sync(tmp_path / "params.yaml", capsys)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "disk" in said["error"]
    assert sync(params)["runs"] == len(expand_grid(params))
