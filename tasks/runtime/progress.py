"""Progress of a stage, displayed while it works: a bar on a terminal, a plain line now and then in a log.

It is counted from the folders, so it is right whether threads, worker processes or another machine do the work. The
watching thread only reads, and never raises into that work.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tqdm import tqdm

from tasks.runtime.run_progress import read_progress, rough_duration
from tasks.study.grid import Run
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.study.status import work_units

POLL_SECONDS = 2.0
LINE_SECONDS = 60.0
MOST_DETAILS = 4


@contextlib.contextmanager
def watch(
    label: str, unit: str, total: int, count: Callable[[], int], details: Callable[[], list[str]] = list
) -> Iterator[None]:
    """Shows `count()` of `total` until the block ends.

    Args:
        label: name of the stage.
        unit: what is counted, in the plural.
        total: how many there are in all.
        count: how many are done; called every few seconds from a thread of its own.
        details: what is being worked on, an entry each; called likewise.
    """
    ended = threading.Event()
    show = _bar if sys.stderr.isatty() else _lines
    thread = threading.Thread(target=show, args=(label, unit, total, count, details, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def watch_runs(params: Params, runs: list[Run]) -> contextlib.AbstractContextManager[None]:
    """Shows the steps done by all runs of the grid, and what the runs in flight are doing inside theirs."""
    paths, since = StudyPaths.of(params), time.time()
    counters = [RowCounter(paths.metrics(run)) for run in runs]

    def count() -> int:
        return sum(max(0, counter() - 1) for counter in counters)

    def details() -> list[str]:
        now = time.time()
        read = [(run.run_id, read_progress(paths.run_progress(run), since)) for run in runs]
        return [f"{name} {progress.describe(now)}" for name, progress in read if progress is not None]

    return watch("train", "steps", sum(run.steps for run in runs), count, details)


def watch_work_units(params: Params, stage: str) -> contextlib.AbstractContextManager[None]:
    """Shows the finished work units of a stage: models, or runs on benchmarks."""
    waiting = {unit.name: unit for unit in work_units(params, stage)}
    total = len(waiting)

    def count() -> int:
        for name in [name for name, unit in waiting.items() if unit.done]:
            del waiting[name]
        return total - len(waiting)

    return watch(stage, "models" if stage == "pretrain" else "evaluations", total, count)


class RowCounter:
    """Counts the lines of a growing file, reading only what was added since the last call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bytes = 0
        self._rows = 0

    def __call__(self) -> int:
        """The number of complete lines now; a file that became shorter (a resumed run) is counted anew."""
        try:
            size = self._path.stat().st_size
            if size < self._bytes:
                self._bytes = self._rows = 0
            if size > self._bytes:
                with self._path.open("rb") as file:
                    file.seek(self._bytes)
                    self._rows += file.read(size - self._bytes).count(b"\n")
                self._bytes = size
        except FileNotFoundError:
            self._bytes = self._rows = 0
        return self._rows


def _bar(
    label: str,
    unit: str,
    total: int,
    count: Callable[[], int],
    details: Callable[[], list[str]],
    ended: threading.Event,
) -> None:
    at_start = count()
    with tqdm(total=total, initial=at_start, desc=label, unit=f" {unit}", dynamic_ncols=True) as bar:
        while not ended.wait(POLL_SECONDS):
            bar.set_postfix_str(_joined(details()), refresh=False)
            bar.update(count() - bar.n)
            bar.refresh()
        bar.set_postfix_str("", refresh=False)
        bar.update(count() - bar.n)


def _lines(
    label: str,
    unit: str,
    total: int,
    count: Callable[[], int],
    details: Callable[[], list[str]],
    ended: threading.Event,
) -> None:
    started_at, at_start, last_count = time.monotonic(), count(), -1
    while True:
        ended_now = ended.wait(LINE_SECONDS)
        done, working = count(), [] if ended_now else details()
        if done != last_count or working:
            seconds = time.monotonic() - started_at
            left = (
                f", {rough_duration(seconds * (total - done) / (done - at_start))} left"
                if at_start < done < total
                else ""
            )
            print("; ".join(filter(None, [f"{label}: {done}/{total} {unit}, {seconds:.0f} s{left}", _joined(working)])))
            sys.stdout.flush()
            last_count = done
        if ended_now:
            return


def _joined(details: list[str]) -> str:
    more = len(details) - MOST_DETAILS
    return "; ".join([*details[:MOST_DETAILS], *([f"and {more} more"] if more > 0 else [])])
