"""Launching: every run is trained by a worker that `accelerate launch` started.

On a CPU one worker per slot is launched once and trains many runs one after another, each with one thread, because
importing torch costs more than a small run. On GPUs a worker is launched for each run and ends with it. The worker's
code is the same: it runs `tasks.train.loop:job`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.grid import Run
from tasks.identity import run_mark
from tasks.layout import Layout
from tasks.params import Hardware, Params
from tasks.store import once
from tasks.workers import WorkerPool, thread_environment

CONFIGS = Path(__file__).parents[2] / "infra" / "accelerate"
JOB = "tasks.train.loop:job"


class Launcher:
    """Owns the processes that train. A context manager; give runs to it from as many threads as it has slots."""

    def __init__(self, params: Params) -> None:
        """Prepares `slots` workers; none starts before its first run."""
        self.params = params
        self.slots = params.hardware.workers or os.cpu_count() or 1
        prefix = accelerate_command(params.hardware, CONFIGS / "cpu.yaml", 1)
        environment = thread_environment(params.hardware.threads_per_worker)
        log = Layout.of(params).stage("train") / "workers.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        self._pool = WorkerPool(self.slots, prefix, environment, log)
        self._text = params.model_dump_json()

    def train(self, run: Run, mark: str) -> dict[str, Any]:
        """Trains a run; returns the facts for its manifest. Raises as `tasks.workers.Worker.run`."""
        return self._pool.run(JOB, params=self._text, run=asdict(run), mark=mark)

    def close(self) -> None:
        """Ends all workers; runs in flight keep their last checkpoint."""
        self._pool.close()

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def accelerate_command(hardware: Hardware, config: Path, processes: int) -> list[str]:
    """The command up to and including `-m` that starts a worker through `accelerate launch`."""
    python = hardware.python or sys.executable
    chosen = hardware.accelerate_config or str(config)
    threads = str(hardware.threads_per_worker)
    command = [python, "-m", "accelerate.commands.launch", "--config_file", chosen]
    return [*command, "--num_processes", str(processes), "--num_cpu_threads_per_process", threads, "-m"]


def train_once(params: Params, run: Run, launcher: Launcher) -> dict[str, Any]:
    """Trains a run unless its folder proves it done; returns its manifest."""
    folder, mark = Layout.of(params).run(run), run_mark(params, run)

    def body() -> tuple[list[str], dict[str, Any]]:
        facts = launcher.train(run, mark)
        final = sorted(f"final/{path.name}" for path in (folder / "final").iterdir() if path.is_file())
        return ["metrics.jsonl", "params.json", *final], facts

    return once(folder, "train", mark, body)[0]
