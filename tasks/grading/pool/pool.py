"""The pool: verdicts from worker processes that can be killed, in the order of the answers.

Differs from multiprocessing pools in that
- most answers never reach a process: the fast half of a scorer decides them here, equal pairs are graded once;
- the time limit of an answer starts when an idle worker receives it, so time in the queue does not count, and a worker
  that a busy machine kept from running gets the time it missed (`time_limits`): verdicts do not depend on the load;
- a worker that exceeds the limit is killed (it may sit in C code that no signal handler interrupts), replaced, and its
  answer given once more to a fresh one with half the limit: on a machine with a core per worker the worst
  verdict takes 1.5 times the limit;
- no signals are used, so any thread, an event loop (through `asyncio.to_thread`) and `accelerate launch` will do.

The first answer that needs a worker starts the fork server (see `fork_server`); `close`, the end of the `with` block,
an exception (Ctrl-C included) or the caller's death end it.

Not covered: processes forked from the caller must not share its pool; one that tries gets workers of its own.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from types import TracebackType

from tasks.grading.pool.worker import OUT_OF_MEMORY
from tasks.grading.pool.worker_set import DIED, TIMED_OUT, WorkerSet
from tasks.grading.registry import scorer_for
from tasks.grading.scorers.code import PROGRAM_TIMED_OUT
from tasks.grading.verdicts import DeferredGrade, GradeRequest, GradeStats, Verdict

ABORTED = frozenset({TIMED_OUT, DIED, OUT_OF_MEMORY, PROGRAM_TIMED_OUT})
CACHE_SIZE = 20_000
MAX_CACHED_LENGTH = 500


class GradingPool:
    """Grades answers; a context manager. One call to `grade` runs at a time, others wait.

    Attributes:
        last_stats: counts of the last call.
        total_stats: counts of all calls.
    """

    def __init__(self, workers: int = 1, seconds: float = 5.0, memory_mb: int = 1024) -> None:
        """Sets limits; starts nothing.

        Args:
            workers: processes grading at once, at least 1.
            seconds: seconds one answer may take in a worker; a second attempt gets half of it.
            memory_mb: address space of one worker in MiB.
        """
        if workers < 1 or seconds <= 0 or memory_mb < 256:
            raise ValueError("a grading pool needs at least 1 worker, a positive time limit and 256 MB")
        self.workers = workers
        self.seconds = seconds
        self.memory_mb = memory_mb
        self.last_stats = GradeStats()
        self.total_stats = GradeStats()
        self._lock = threading.Lock()
        self._worker_set: WorkerSet | None = None
        self._owner_pid = os.getpid()
        self._cache: OrderedDict[DeferredGrade, Verdict] = OrderedDict()

    def __enter__(self) -> GradingPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends every process of the pool. The pool can be used again afterwards."""
        with self._lock:
            self._close_workers()

    def grade(self, requests: Sequence[GradeRequest]) -> list[Verdict]:
        """Returns one verdict per request, in order.

        Raises:
            InputError: a data source has no scorer.
        """
        with self._lock:
            start = time.perf_counter()
            verdicts, waiting = _fast_verdicts(requests)
            fast_path = sum(verdict is not None for verdict in verdicts)
            cache_hits = self._from_cache(waiting, verdicts)
            retried = self._run(waiting, verdicts) if waiting else 0
            decided = [verdict for verdict in verdicts if verdict is not None]
            assert len(decided) == len(requests)
            counts = Counter(verdict.status for verdict in decided)
            right = sum(verdict.strictly_correct for verdict in decided)
            self.last_stats = GradeStats(
                graded=len(decided),
                right=right,
                right_lenient=counts["right"],
                unjudged=counts["unjudged"],
                timed_out=sum(verdict.reason in ABORTED for verdict in decided),
                fast_path=fast_path,
                remembered=cache_hits,
                retried=retried,
                seconds=time.perf_counter() - start,
            )
            self.total_stats += self.last_stats
            return decided

    def _from_cache(self, waiting: dict[DeferredGrade, list[int]], verdicts: list[Verdict | None]) -> int:
        """Fills in cached verdicts, removes their work and returns how many requests need no work of their own."""
        hits = sum(len(indices) - 1 for indices in waiting.values())
        for work in [work for work in waiting if work in self._cache]:
            self._cache.move_to_end(work)
            hits += 1
            for index in waiting.pop(work):
                verdicts[index] = self._cache[work]
        return hits

    def _run(self, waiting: dict[DeferredGrade, list[int]], verdicts: list[Verdict | None]) -> int:
        """Has the workers decide the rest. Returns how many pieces of work needed a second worker."""
        if self._worker_set is None or self._owner_pid != os.getpid():
            self._owner_pid = os.getpid()
            self._worker_set = WorkerSet(self.workers, self.seconds, self.memory_mb)
        try:
            outcomes, retried = self._worker_set.run(list(waiting))
        except BaseException:
            self._close_workers()
            raise
        for work, verdict in outcomes.items():
            for index in waiting[work]:
                verdicts[index] = verdict
            if verdict.reason not in ABORTED and len(work.text) + len(work.ground_truth) <= MAX_CACHED_LENGTH:
                self._cache[work] = dataclasses.replace(verdict, seconds=0.0)
        while len(self._cache) > CACHE_SIZE:
            self._cache.popitem(last=False)
        return retried

    def _close_workers(self) -> None:
        worker_set, self._worker_set = self._worker_set, None
        if worker_set is not None and self._owner_pid == os.getpid():
            worker_set.close()


def _fast_verdicts(requests: Sequence[GradeRequest]) -> tuple[list[Verdict | None], dict[DeferredGrade, list[int]]]:
    """Runs the fast halves: verdicts where there are any, and the distinct work left with the indices that wait."""
    verdicts: list[Verdict | None] = []
    waiting: dict[DeferredGrade, list[int]] = {}
    for index, request in enumerate(requests):
        outcome = scorer_for(request.data_source).grade_fast(request)
        if isinstance(outcome, Verdict):
            verdicts.append(outcome)
        else:
            verdicts.append(None)
            waiting.setdefault(outcome, []).append(index)
    return verdicts, waiting
