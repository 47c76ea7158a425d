"""Time limits that a busy machine does not turn into wrong verdicts.

A limit is meant for a process that gets a core whenever it wants one. The kernel counts how long a process stood ready
without getting one; that time does not count against the limit. On a machine with a core per worker limits hold to the
millisecond; on a crowded one they stretch, to ten times at most.

Not covered: waiting for disks; kernels without /proc/PID/schedstat, where the wall clock alone decides.
"""

from __future__ import annotations

from pathlib import Path

MAX_STRETCH = 10.0
_SHORTEST_WAIT = 0.01


def cpu_wait_seconds(pid: int) -> float:
    """Returns the seconds a process has stood ready to run without getting a core."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0.0


def remaining_seconds(
    pid: int, wait_at_start: float, limit: float, elapsed: float, others: tuple[int, ...] = ()
) -> float:
    """Returns the seconds a process that reached its limit should still get; 0.0 when it must stop.

    Args:
        pid: the process.
        wait_at_start: `cpu_wait_seconds` when its work began.
        limit: seconds the work may take.
        elapsed: wall seconds since the work began.
        others: processes started for this work, with which it takes turns.
    """
    waited = cpu_wait_seconds(pid) - wait_at_start + sum(cpu_wait_seconds(other) for other in others)
    remaining = min(limit - (elapsed - waited), MAX_STRETCH * limit - elapsed)
    return remaining if remaining >= _SHORTEST_WAIT else 0.0
