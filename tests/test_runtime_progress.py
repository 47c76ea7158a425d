"""Progress inside a step: what the trainer writes is what the watcher's line says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tasks.runtime import progress
from tasks.runtime.run_progress import RunProgress, RunProgressWriter, read_progress, rough_duration


def test_a_line_says_phase_speed_and_what_is_left() -> None:
    first = RunProgress(step=1, steps=10, phase="rollout", step_at=100.0, phase_at=100.0)
    assert first.describe(130.0) == "step 1/10 rollout 30 s"
    later = RunProgress(4, 10, "update", step_at=100.0, phase_at=150.0, last_seconds=90.0, last_tokens=4500)
    assert later.describe(160.0) == "step 4/10 update 10 s, 50 tokens/s, step 30 s, run 10 min left"
    assert later.describe(500.0) == "step 4/10 update 350 s, 50 tokens/s, step 0 s, run 9 min left"


def test_what_is_written_is_read_until_it_is_closed_and_a_killed_runs_is_not(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    writer = RunProgressWriter(path, 5)
    writer.enter("evaluation")
    assert read_progress(path, 0.0) is None  # before the first step
    writer.begin(1)
    writer.begin(2, last_tokens=70)
    writer.enter("grading")
    read = read_progress(path, 0.0)
    assert read is not None
    assert (read.step, read.steps, read.phase, read.last_tokens) == (2, 5, "grading", 70)
    os.utime(path, (10.0, 10.0))
    assert read_progress(path, 11.0) is None
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_a_log_has_a_line_while_nothing_is_finished(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.02)
    seen: list[int] = []

    def details() -> list[str]:
        seen.append(1)
        return [f"run-{number} step 1/5 update 3 s" for number in range(6)]

    with progress.watch("train", "steps", 5, lambda: 0, details):
        while len(seen) < 3:
            pass
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 2
    assert lines[1].startswith("train: 0/5 steps, 0 s; run-0 step 1/5 update 3 s; run-1 ")
    assert lines[1].endswith("; and 2 more")


def test_durations_in_words() -> None:
    assert [rough_duration(s) for s in (0.0, 99.0, 720.0, 12600.0)] == ["0 s", "99 s", "12 min", "3.5 h"]
