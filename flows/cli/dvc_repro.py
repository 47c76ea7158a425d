"""`dvc repro` as a child of one command: one Prefect server for its six stages, and a clean stop.

DVC ignores Ctrl-C while a stage runs and dies of SIGTERM leaving the stage behind. So it gets a process group of its
own, to which every way of stopping this process is passed on as Ctrl-C: the stage stops by itself, DVC notices, and
only then the server goes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from flows import ROOT
from flows.cli.prefect_server import prefect_server
from flows.cli.stage_runner import unfinished_stages
from tasks.runtime.prefect_options import StageFailed
from tasks.study.params import load_params

STOP_SECONDS = 60.0


def tracked_by_dvc(params_file: Path) -> bool:
    """Whether `dvc.yaml` describes this study: it reads the repository's own `params.yaml`, in a git checkout."""
    same = params_file.resolve() == (ROOT / "params.yaml").resolve()
    return same and (ROOT / ".git").exists() and (ROOT / ".dvc").is_dir()


def reproduce(params_file: Path) -> bool:
    """Brings all six stages up to date through DVC.

    Returns:
        Whether there was anything to do.

    Raises:
        StageFailed: DVC, or a stage it ran, failed.
    """
    params = load_params(params_file)
    pending, changed = unfinished_stages(params), _changed_stages()
    if not pending and not changed:
        print("study: nothing to do, all six stages are done")
        return False
    # The run cache is passed over: the folders' manifests say what is done, down to single runs.
    command = ["repro", "--no-run-cache"]
    if pending and not changed:
        command.append("--force")
    with prefect_server() if pending else contextlib.nullcontext():
        _run_dvc(command)
    unfinished = unfinished_stages(params)
    if unfinished:
        raise StageFailed(f"dvc repro ended, but these stages are not done: {', '.join(unfinished)}")
    return True


def _environment() -> dict[str, str]:
    """The stages' commands find `rlscale` beside this interpreter."""
    return os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}


def _changed_stages() -> list[str]:
    """The stages DVC sees a change in: code, params, inputs or outputs."""
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    answer = subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False)
    if answer.returncode:
        raise StageFailed(f"dvc status failed: {answer.stderr.strip()[-2000:]}")
    return list(json.loads(answer.stdout or "{}"))


def _run_dvc(arguments: list[str]) -> None:
    process = subprocess.Popen([sys.executable, "-m", "dvc", *arguments], cwd=ROOT, env=_environment(), process_group=0)
    try:
        code = process.wait()
    except BaseException:
        _stop(process)
        raise
    if code:
        raise StageFailed(f"dvc {' '.join(arguments)} failed with exit code {code}; its message stands above")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stops DVC and its stage: Ctrl-C first, which lets runs stop in order, then harder."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            continue
        return
