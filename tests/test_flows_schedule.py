"""Scheduled studies: `infra/prefect/prefect.yaml` by the commands in its head, until a scheduled run has ended."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from support.report_study import make_finished_study

from tasks.study.paths import StudyPaths
from tasks.study.status import stage_done

ROOT = Path(__file__).resolve().parents[1]
DEPLOYMENTS = Path("infra/prefect/prefect.yaml")
AUTOMATIONS = Path("infra/prefect/automations.yaml")
INTERVAL_SECONDS, PATIENCE_SECONDS = 20, 180.0

pytestmark = pytest.mark.slow


def head_commands() -> list[list[str]]:
    """The commands in the head of the file, `prefect` as this interpreter's."""
    lines = [line[1:] for line in (ROOT / DEPLOYMENTS).read_text().splitlines() if line.startswith("#   ")]
    assert all(line.split()[0] == "prefect" for line in lines)
    return [[sys.executable, "-m", *shlex.split(line)] for line in lines]


def every_few_seconds(text: str) -> str:
    """The deployments with the miniature's schedule replaced by an interval."""
    raw = yaml.safe_load(text)
    raw["deployments"][0]["schedules"] = [{"interval": INTERVAL_SECONDS, "active": True}]
    return yaml.safe_dump(raw, sort_keys=False)


def environment(home: Path, port: int) -> dict[str, str]:
    """An environment with no Prefect setting but the server's address and home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return kept | {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_API_PORT": str(port),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_ENABLED": "false",
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], folder: Path, variables: dict[str, str], log: Path) -> Iterator[None]:
    """Runs a command and all it starts for the length of the block."""
    with log.open("w") as sink:
        process = subprocess.Popen(command, cwd=folder, env=variables, stdout=sink, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.kill()
        process.wait()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


def ask(address: str, body: dict[str, Any] | None = None) -> Any:
    """The answer to a request, None while nobody listens."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


def wait_for(address: str, body: dict[str, Any] | None, log: Path) -> Any:
    """Asks until the answer is not empty."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (answer := ask(address, body)):
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.5)
    return answer


def test_the_shipped_deployment_fires_by_its_schedule_and_completes_the_study(tmp_path: Path) -> None:
    # A finished study but for its report, so that the scheduled run has something to do, and little.
    project = tmp_path / "project"
    project.mkdir()
    params = make_finished_study(project, {"sizes": ["3k", "7k"], "seeds": [0], "reuse": None}, steps=12, draws=20)
    assert not stage_done(params, "report")
    (project / "flows").symlink_to(ROOT / "flows")
    (project / DEPLOYMENTS).parent.mkdir(parents=True)
    (project / DEPLOYMENTS).write_text(every_few_seconds((ROOT / DEPLOYMENTS).read_text()))
    shutil.copy(ROOT / AUTOMATIONS, project / AUTOMATIONS)
    server, create, deploy, automate, worker = head_commands()
    variables = environment(tmp_path / "home", free_port())
    api = variables["PREFECT_API_URL"]
    ended = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}}
    with running(server, project, variables, tmp_path / "server.log"):
        wait_for(f"{api}/health", None, tmp_path / "server.log")
        for command in (create, deploy, automate):
            answer = subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True, check=False)
            assert answer.returncode == 0, answer.stdout + answer.stderr
        (automation,) = wait_for(f"{api}/automations/filter", {"limit": 10}, tmp_path / "server.log")
        assert automation["enabled"]
        with running(worker, project, variables, tmp_path / "worker.log"):
            top_level = {"flows": {"name": {"any_": ["study"]}}}
            run = wait_for(f"{api}/flow_runs/filter", ended | top_level, tmp_path / "worker.log")[0]
    assert run["state_type"] == "COMPLETED", (tmp_path / "worker.log").read_text()[-3000:]
    assert run["auto_scheduled"]
    assert run["parameters"] == {"params_file": "params.yaml"}
    assert stage_done(params, "report")
    assert StudyPaths.of(params).report.is_file()
    # Results lie where `flows` wants them, not where Prefect would put them.
    assert list((tmp_path / "home" / "results").iterdir())
    assert not (tmp_path / "home" / "storage").exists()
