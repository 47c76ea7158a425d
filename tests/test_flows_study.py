"""The small study for real: stopped in the middle, continued, run again, and run with one marker gone."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from prefect import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.states import State
from support.studies import numbers

from flows.cli.stage_runner import unfinished_stages
from flows.prepare import prepare
from flows.study import study
from tasks.records.findings import read_findings
from tasks.records.metrics import read_metrics
from tasks.records.run_state import run_state
from tasks.records.scores import read_scores
from tasks.runtime.tracking.tracked_study import RUN_TAG
from tasks.study.grid import expand_grid
from tasks.study.manifests import MANIFEST, manifest_digest, verify
from tasks.study.params import Params, load_params
from tasks.study.paths import STAGES, StudyPaths

ROOT = Path(__file__).resolve().parents[1]
CODE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from flows.cli.main import main; main()"
)

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Interrupted:
    """A study that was stopped by Ctrl-C during training and then continued by the flow."""

    params_file: Path
    params: Params
    exit_code: int
    survivors: list[psutil.Process]
    done_at_stop: int
    kept: dict[Path, int]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", CODE, *arguments]


def marks(params: Params) -> dict[Path, int]:
    """When each manifest of the stages was written, in nanoseconds; the tracker's store holds copies of some."""
    found = [path for stage in STAGES for path in StudyPaths.of(params).stage(stage).rglob(MANIFEST)]
    return {path: path.stat().st_mtime_ns for path in found}


def stop_during_training(params_file: Path, params: Params) -> tuple[int, list[psutil.Process]]:
    """Starts the study, sends Ctrl-C once a run has a row, and returns its exit code and what is still running."""
    process = subprocess.Popen(command("study", "--direct", "--params", str(params_file)), cwd=ROOT)
    deadline = time.monotonic() + 400
    while not any(StudyPaths.of(params).metrics(run).is_file() for run in expand_grid(params)):
        assert process.poll() is None, "the study ended before a run began"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    code = process.wait(timeout=120)
    _, survivors = psutil.wait_procs(children, timeout=20)
    return code, survivors


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory, prefect_api: None) -> Iterator[Interrupted]:
    folder = tmp_path_factory.mktemp("study")
    params_file = folder / "params.yaml"
    shutil.copy(ROOT / "params.small.yaml", params_file)
    params = load_params(params_file)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        patch.setenv("PREFECT_HOME", str(folder / "prefect"))
        code, survivors = stop_during_training(params_file, params)
        done = sum(run_state(params, run).progress == "done" for run in expand_grid(params))
        # A run that goes on replaces its checkpoints by newer ones; everything else that is finished must stay.
        kept = {path: when for path, when in marks(params).items() if "checkpoints" not in path.parts}
        study(params_file)
        yield Interrupted(params_file, params, code, survivors, done, kept)


def test_ctrl_c_stops_the_study_with_code_130_and_leaves_no_process(interrupted: Interrupted) -> None:
    assert interrupted.exit_code == 130
    assert interrupted.survivors == []
    assert interrupted.done_at_stop < len(expand_grid(interrupted.params))


def test_the_next_run_keeps_what_was_finished_and_completes_every_stage(interrupted: Interrupted) -> None:
    params = interrupted.params
    now = marks(params)
    assert {path: now[path] for path in interrupted.kept} == interrupted.kept
    assert unfinished_stages(params) == []
    assert all(not verify(path.parent) for path in now)
    for run in expand_grid(params):
        rows = read_metrics(StudyPaths.of(params).metrics(run))
        assert [row.step for row in rows] == list(range(params.train.steps + 1))
    assert len(read_scores(StudyPaths.of(params).scores)) == 2 * (6 + 4)
    assert StudyPaths.of(params).report.stat().st_size > 10_000
    assert {row["variant"] for row in read_findings(params)["laws"]} == {"base", "instruct"}


def test_the_tracker_holds_every_run_and_the_report_below_a_finished_parent(interrupted: Interrupted) -> None:
    params = interrupted.params
    client = MlflowClient(tracking_uri=f"sqlite:///{StudyPaths.of(params).tracking}")
    experiment = client.get_experiment_by_name(params.study.name)
    runs = {run.data.tags[RUN_TAG]: run for run in client.search_runs([experiment.experiment_id])}
    (fit,) = (name for name in runs if name.startswith("fit-"))
    assert set(runs) == {"study", fit, *(run.run_id for run in expand_grid(params))}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert "eval/heldout/pass_at_1" in runs[expand_grid(params)[0].run_id].data.metrics
    assert any(name.startswith("fit/") for name in runs["study"].data.metrics)
    assert "report/index.html" in [file.path for file in client.list_artifacts(runs["study"].info.run_id, "report")]


def test_a_second_run_does_nothing_and_says_so(interrupted: Interrupted) -> None:
    before = marks(interrupted.params)
    arguments = command("study", "--direct", "--params", str(interrupted.params_file))
    answer = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "study: nothing to do" in answer.stdout
    assert str(StudyPaths.of(interrupted.params).report) in answer.stdout.replace("\n", "")
    assert marks(interrupted.params) == before


def test_a_changed_setting_reopens_the_stages_it_decides_and_no_other(interrupted: Interrupted) -> None:
    params = interrupted.params
    block = params.fit.model_copy(update={"skip_steps": 1})
    assert unfinished_stages(params.model_copy(update={"fit": block})) == ["fit"]
    hardware = params.hardware.model_copy(update={"workers": 1, "token_budget": 1024})
    assert unfinished_stages(params.model_copy(update={"hardware": hardware})) == []


def test_with_one_marker_deleted_exactly_that_run_is_redone(interrupted: Interrupted) -> None:
    params = interrupted.params
    run = expand_grid(params)[2]
    marker = StudyPaths.of(params).run(run) / MANIFEST
    before, content = marks(params), manifest_digest(marker.parent)
    rows = numbers(params, run)
    marker.unlink()
    assert unfinished_stages(params)[0] == "train"
    study(interrupted.params_file)
    after = marks(params)
    assert {path for path in after if after[path] != before[path]} == {marker}
    # Seconds aside: the steps after the run's last checkpoint are done again, and take the time they take.
    assert manifest_digest(marker.parent) == content
    assert numbers(params, run) == rows


def test_finished_tasks_show_as_cached_in_prefect(interrupted: Interrupted) -> None:
    prepare(interrupted.params_file)
    state = prepare(interrupted.params_file, return_state=True)
    assert isinstance(state, State)
    with get_client(sync_client=True) as client:
        chosen = FlowRunFilter(id=FlowRunFilterId(any_=[state.state_details.flow_run_id]))
        assert [task.state_name for task in client.read_task_runs(flow_run_filter=chosen)] == ["Cached"]
