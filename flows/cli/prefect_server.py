"""A Prefect server for the length of one command, shared by everything that command starts.

Prefect's own temporary server is started once per process (13-28 s each) and outlives a SIGTERM. This one is started
once, hands its address on in `PREFECT_API_URL`, and watches a pipe to the process that started it: when that process
ends, however it ends, the pipe closes and the server goes too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

STARTUP_SECONDS = 600.0
ADDRESS = "PREFECT_API_URL"

# What a server of one command needs no services for: nothing is scheduled, late, paused or triggered on it.
_DISABLED_SERVICES = {
    f"PREFECT_SERVER_SERVICES_{service}_ENABLED": "false"
    for service in ("SCHEDULER", "LATE_RUNS", "PAUSE_EXPIRATIONS", "CANCELLATION_CLEANUP", "FOREMAN", "TRIGGERS")
} | {"PREFECT_UI_ENABLED": "false", "PREFECT_SERVER_UI_ENABLED": "false"}


@contextlib.contextmanager
def prefect_server() -> Iterator[str]:
    """Yields the address of a Prefect API: the one in `PREFECT_API_URL`, else that of a server started for now.

    Raises:
        RuntimeError: the server did not come up; the message ends with its log.
    """
    address_from_env = os.environ.get(ADDRESS)
    if address_from_env:
        yield address_from_env
        return
    port = _free_port()
    log = Path(os.environ["PREFECT_HOME"]) / "server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli.prefect_server", str(port)],
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=sink,
            env=os.environ | _DISABLED_SERVICES,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}/api"
    try:
        _wait_until_healthy(process, address, log)
        os.environ[ADDRESS] = address
        # The task runs' logs are in the console and the folders; a server that ends with us need not hold them too.
        os.environ.setdefault("PREFECT_LOGGING_TO_API_ENABLED", "false")
        yield address
    finally:
        os.environ.pop(ADDRESS, None)
        _stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + STARTUP_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the Prefect server ended at once, see {log}:\n{log.read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise RuntimeError(f"the Prefect server did not answer within {STARTUP_SECONDS:.0f} s, see {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the server and waits for it; its SQLite file survives a kill."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdin:
        process.stdin.close()


def _serve(port: int) -> None:
    """Runs the API until told to stop or until standard input closes."""
    import uvicorn

    def end_with_starter() -> None:
        sys.stdin.buffer.read()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=end_with_starter, daemon=True).start()
    uvicorn.run("prefect.server.api.server:create_app", factory=True, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
