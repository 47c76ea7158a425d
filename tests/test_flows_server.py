"""The Prefect server of one command: started when asked for, gone when its starter is, however that ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from flows.server import ADDRESS, prefect_server

ROOT = Path(__file__).resolve().parents[1]
STARTER = (
    "import sys\nfrom flows.server import prefect_server\n"
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
def test_the_server_goes_with_its_starter_even_when_that_is_killed(tmp_path: Path) -> None:
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


def test_a_server_that_cannot_start_is_an_error_with_its_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(ADDRESS, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="ended at once"), prefect_server():
        pass
