"""Publishes a study: its runs in flight while a stage runs, everything at its end or by `rlscale sync`."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

from tasks.runtime.tracking.run_record import read_record
from tasks.runtime.tracking.store import store_uri
from tasks.runtime.tracking.tracked_study import TrackedStudy
from tasks.study.grid import Run, expand_grid
from tasks.study.manifests import folder_lock, is_locked
from tasks.study.params import Params
from tasks.study.paths import StudyPaths

log = logging.getLogger(__name__)

CLOSING_SECONDS = 120.0


@contextlib.contextmanager
def publishing(params: Params) -> Iterator[None]:
    """Publishes the runs in flight every `tracking.live_seconds` while the block runs, and all of them at its end."""
    if not params.tracking.enabled:
        yield
        return
    ended, cancelled = threading.Event(), threading.Event()
    thread = threading.Thread(target=_follow, args=(params, ended, cancelled), daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        cancelled.set()
        raise
    finally:
        ended.set()
        thread.join(timeout=5.0 if cancelled.is_set() else CLOSING_SECONDS)
        if thread.is_alive() and not cancelled.is_set():
            log.warning(
                "publishing to %s takes too long, left unfinished; `rlscale sync` completes it", store_uri(params)
            )


def publish_study(params: Params) -> bool:
    """Publishes every run, the fits and the report; tells whether the store took it all."""
    if not params.tracking.enabled:
        return False
    try:
        sync(params)
    except Exception as error:  # whatever a store can raise: the study's results do not depend on it
        log.warning("not published to %s (%s); `rlscale sync` does it later", store_uri(params), one_line(error))
        return False
    return True


def sync(params: Params, uri: str | None = None) -> dict[str, int]:
    """Brings a store up to date with the folders.

    Args:
        params: the study.
        uri: the store; None for the study's own, see `store_uri`.

    Returns:
        How many runs were published and how many rows were added.
    """
    with folder_lock(params.root):
        study = TrackedStudy(params, uri)
        runs = [run for run in expand_grid(params) if StudyPaths.of(params).metrics(run).is_file()]
        rows = sum(study.publish(read_record(params, run)) for run in runs)
        study.publish_parent()
    return {"runs": len(runs), "rows": rows}


def _follow(params: Params, ended: threading.Event, cancelled: threading.Event) -> None:
    """The publishing thread: one failure is told once, then only the end of the block tries again."""
    study: TrackedStudy | None = None
    sizes: dict[str, int] = {}
    lost = False
    while True:
        last_time = ended.wait(params.tracking.live_seconds)
        if cancelled.is_set():
            return
        if not last_time and (lost or is_locked(params.root)):  # who holds the lock publishes these runs too
            continue
        try:
            with folder_lock(params.root):
                study = study or TrackedStudy(params)
                study.refresh()
                for run in expand_grid(params):
                    _publish_if_grown(study, params, run, sizes)
            lost = False
        except Exception as error:  # whatever a store can raise: training does not depend on it
            lost = True
            log.warning("not published to %s (%s); `rlscale sync` does it later", store_uri(params), one_line(error))
        if last_time:
            return


def _publish_if_grown(study: TrackedStudy, params: Params, run: Run, sizes: dict[str, int]) -> None:
    path = StudyPaths.of(params).metrics(run)
    size = path.stat().st_size if path.is_file() else 0
    finished = not is_locked(path.parent)
    state = size * 2 + finished
    if size and sizes.get(run.run_id) != state:
        study.publish(read_record(params, run))
        sizes[run.run_id] = state


def one_line(error: Exception) -> str:
    """An error's type and the beginning of its message."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
