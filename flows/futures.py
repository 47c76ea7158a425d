"""Many tasks of one flow: their threads, and waiting so that one failure neither stops the others nor hides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prefect.exceptions import UnfinishedRun
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.runtime.prefect_options import StageFailed
from tasks.study.errors import InputError


def thread_runner(slots: int) -> ThreadPoolTaskRunner[Any]:
    """A task runner with so many threads; each waits for a worker process, so threads cost nothing."""
    return ThreadPoolTaskRunner(max_workers=slots)


def wait_all(futures: Iterable[PrefectFuture[Any]]) -> None:
    """Waits until every task has ended.

    Raises:
        InputError: a task was refused for bad input; that error itself.
        StageFailed: a task failed; says how many and why the first one did. What the others did is kept.
    """
    asked = list(futures)
    errors = [error for error in map(_error, asked) if error is not None]
    if not errors:
        return
    refused = next((error for error in errors if isinstance(error, InputError)), None)
    if refused is not None:
        raise refused
    # A task that was never run to an end (Prefect stopped it) says nothing of why; one that failed does.
    first = next((error for error in errors if not isinstance(error, UnfinishedRun)), errors[0])
    raise StageFailed(
        f"{len(errors)} of {len(asked)} tasks failed, the first: {type(first).__name__}: {first}"
    ) from first


def _error(future: PrefectFuture[Any]) -> BaseException | None:
    """Waits for a task; returns the exception it ended with, or the one that asking for its result raises."""
    try:
        result = future.result(raise_on_failure=False)
    except Exception as error:
        return error
    return result if isinstance(result, BaseException) else None
