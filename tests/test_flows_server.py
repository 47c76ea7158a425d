"""What flows need of Prefect: a server that goes with its starter, and tasks whose failures are told."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State
from prefect.exceptions import UnfinishedRun
from prefect.futures import PrefectConcurrentFuture
from prefect.states import Completed, Failed

from flows.cli.prefect_server import ADDRESS, prefect_server
from flows.futures import wait_all
from tasks.runtime.prefect_options import StageFailed
from tasks.study.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
STARTER = (
    "import sys\nfrom flows.cli.prefect_server import prefect_server\n"
    "with prefect_server() as address:\n    print(address, flush=True)\n    sys.stdin.read()\n"
)


def answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def start(home: Path) -> tuple[subprocess.Popen[str], str]:
    environment = {name: value for name, value in os.environ.items() if name != ADDRESS} | {"PREFECT_HOME": str(home)}
    process = subprocess.Popen(
        [sys.executable, "-c", STARTER],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@pytest.mark.slow
def test_the_server_ends_with_its_starter_even_when_that_is_killed(tmp_path: Path) -> None:
    process, address = start(tmp_path)
    assert answers(address)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 20
    while answers(address):
        assert time.monotonic() < deadline, "the server outlived its starter"
        time.sleep(0.1)
    process, address = start(tmp_path)
    assert answers(address)
    process.communicate("")
    assert process.returncode == 0
    assert not answers(address)


def test_a_given_server_is_used_and_none_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS, "http://elsewhere/api")
    with prefect_server() as address:
        assert address == "http://elsewhere/api"
    assert os.environ[ADDRESS] == "http://elsewhere/api"


@pytest.mark.slow
def test_a_server_that_cannot_start_is_an_error_with_its_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(ADDRESS, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="ended at once"), prefect_server():
        pass


def _ended(outcome: BaseException | State[Any]) -> PrefectConcurrentFuture[Any]:
    """A task's future that ended in a state, or broke."""
    plain: Future[Any] = Future()
    if isinstance(outcome, BaseException):
        plain.set_exception(outcome)
    else:
        plain.set_result(outcome)
    return PrefectConcurrentFuture(uuid.uuid4(), plain)


def test_the_reason_of_a_failed_stage_is_its_first_real_error_not_a_task_that_was_stopped() -> None:
    stopped, failed = _ended(UnfinishedRun("never ended")), _ended(Failed(data=ValueError("the disk is full")))
    with pytest.raises(StageFailed, match="2 of 3 tasks failed, the first: ValueError: the disk is full"):
        wait_all([_ended(Completed(data=1)), stopped, failed])
    with pytest.raises(InputError, match="row 7"):
        wait_all([stopped, failed, _ended(Failed(data=InputError("row 7")))])
    wait_all([_ended(Completed(data=1))])
