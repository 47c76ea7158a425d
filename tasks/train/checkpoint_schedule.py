"""When a run writes a checkpoint: every so many steps, or as seldom as loses at most ten minutes of work."""

from __future__ import annotations

import time
from collections.abc import Callable

WORK_SECONDS = 600.0
"""The most seconds of training that a crash may cost where `checkpoints.every` is null; a longer step costs itself."""


class CheckpointSchedule:
    """Says after each step of a run whether a checkpoint is due; the result of a run does not depend on it.

    Args:
        every: steps from one checkpoint to the next; None: decided by the clock, before a step as long as the longest
            so far would exceed `WORK_SECONDS` since the last checkpoint.
        clock: seconds; only differences count.
    """

    def __init__(self, every: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._every, self._clock = every, clock
        self._saved_at = self._stepped_at = clock()
        self._longest = 0.0

    def is_due(self, step: int) -> bool:
        """Whether a checkpoint is due after this step; asked once a step. A true answer starts a new interval."""
        now = self._clock()
        self._longest = max(self._longest, now - self._stepped_at)
        self._stepped_at = now
        due = step % self._every == 0 if self._every else now - self._saved_at + self._longest > WORK_SECONDS
        if due:
            self._saved_at = now
        return due
