"""Checkpoints by the clock lose at most ten minutes of work, whatever a step takes."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from tasks.train.checkpoint_schedule import WORK_SECONDS, CheckpointSchedule


def _due(every: int | None, seconds: list[float]) -> list[bool]:
    ticks = iter([0.0, *accumulate(seconds)])
    schedule = CheckpointSchedule(every, clock=lambda: next(ticks))
    return [schedule.is_due(step) for step in range(1, len(seconds) + 1)]


def test_a_given_interval_is_kept_whatever_a_step_takes() -> None:
    assert _due(3, [1000.0] * 7) == [False, False, True, False, False, True, False]


def test_by_the_clock_short_steps_share_a_checkpoint_and_long_ones_have_their_own() -> None:
    assert _due(None, [1.0] * 500) == [False] * 500
    assert [step for step, due in enumerate(_due(None, [100.0] * 20), 1) if due] == [6, 12, 18]
    assert _due(None, [700.0] * 3) == [True] * 3


@given(st.floats(0.1, 2000.0), st.integers(1, 200))
def test_steps_of_equal_length_never_leave_more_than_the_limit_at_stake(seconds: float, count: int) -> None:
    at_stake = 0.0
    for due in _due(None, [seconds] * count):
        at_stake += seconds
        assert at_stake <= max(WORK_SECONDS, seconds) * (1 + 1e-9)
        at_stake = 0.0 if due else at_stake
