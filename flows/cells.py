"""Many tasks of one flow: their threads, and waiting so that one failure neither stops the others nor hides."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prefect.futures import PrefectFuture, wait
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.errors import InputError
from tasks.orchestration import StageFailed


def threads(slots: int) -> ThreadPoolTaskRunner[Any]:
    """A task runner with so many threads; each waits for a worker process, so threads cost nothing."""
    return ThreadPoolTaskRunner(max_workers=slots)


def finish(futures: Iterable[PrefectFuture[Any]]) -> None:
    """Waits until every task has ended.

    Raises:
        InputError: a task was refused for bad input; that error itself.
        StageFailed: a task failed; says how many and why the first one did. What the others did is kept.
    """
    asked = list(futures)
    wait(asked)
    errors = [error for error in (future.result(raise_on_failure=False) for future in asked) if _failed(error)]
    if not errors:
        return
    refused = next((error for error in errors if isinstance(error, InputError)), None)
    if refused is not None:
        raise refused
    first = errors[0]
    raise StageFailed(
        f"{len(errors)} of {len(asked)} tasks failed, the first: {type(first).__name__}: {first}"
    ) from first


def _failed(result: object) -> bool:
    return isinstance(result, BaseException)
