"""What a run is doing inside a step: a small file in its folder, written at every phase and read by whoever watches."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunProgress:
    """Where a run stands.

    Attributes:
        step: the step being made, from 1.
        steps: of the run.
        phase: rollout, grading, update, weights, evaluation or checkpoint.
        step_at: when the step began, seconds since 1970.
        phase_at: when the phase began, likewise.
        last_seconds: wall time of the step before; None for the first one of a process.
        last_tokens: completion tokens of the step before, of all processes.
    """

    step: int
    steps: int
    phase: str
    step_at: float
    phase_at: float
    last_seconds: float | None = None
    last_tokens: int | None = None

    def describe(self, now: float) -> str:
        """Part of a line: the phase and, once a step has been timed, tokens/s and what step and run still take."""
        text = f"step {self.step}/{self.steps} {self.phase} {now - self.phase_at:.0f} s"
        if self.last_seconds is None:
            return text
        step_left = max(0.0, self.last_seconds - (now - self.step_at))
        run_left = step_left + (self.steps - self.step) * self.last_seconds
        speed = f", {self.last_tokens / self.last_seconds:.0f} tokens/s" if self.last_tokens else ""
        return f"{text}{speed}, step {rough_duration(step_left)}, run {rough_duration(run_left)} left"


class RunProgressWriter:
    """Writes a run's progress; where `path` is None (any process but the first) nothing is written."""

    def __init__(self, path: Path | None, steps: int) -> None:
        self._path, self._steps = path, steps
        self._step, self._step_at = 0, time.time()
        self._last_seconds: float | None = None
        self._last_tokens: int | None = None

    def begin(self, step: int, last_tokens: int | None = None) -> None:
        """A step begins, with its rollouts; `last_tokens` are the completion tokens of the one before, if there was."""
        now = time.time()
        if last_tokens is not None:
            self._last_seconds, self._last_tokens = now - self._step_at, last_tokens
        self._step, self._step_at = step, now
        self.enter("rollout")

    def enter(self, phase: str) -> None:
        """A phase of the step begins."""
        if self._path is None or not self._step:
            return
        now = RunProgress(
            self._step, self._steps, phase, self._step_at, time.time(), self._last_seconds, self._last_tokens
        )
        temporary = self._path.with_suffix(".tmp")  # no fsync: what a crash loses here nobody misses
        temporary.write_text(json.dumps(asdict(now)), encoding="utf-8")
        os.replace(temporary, self._path)

    def close(self) -> None:
        """Removes the file: nothing is being done any more."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def read_progress(path: Path, since: float) -> RunProgress | None:
    """A run's progress; None where nothing is being done, or where the file is older than `since` (a killed run's)."""
    try:
        if path.stat().st_mtime < since:
            return None
        return RunProgress(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def rough_duration(seconds: float) -> str:
    """Seconds in words: 45 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
