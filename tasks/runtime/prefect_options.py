"""Options of every stage's `@task`s: names, tags, retries and a cache key that is the work's fingerprint.

Files are the truth: every task's body goes through `tasks.study.manifests.once`, which does nothing where a valid
folder stands. Prefect's cache only repeats that verdict for its UI, so there is a key only while the folder proves
the work done; a key without proof would let a cache hit stand for deleted work. This module imports no prefect: it is
plain data for the decorators in `steps.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.study.manifests import is_complete

WorkOf = Callable[[dict[str, Any]], tuple[Path, str]]


class TransientError(RuntimeError):
    """A failure that may not come back: a worker process that died, a port taken meanwhile, a busy node."""


class StageFailed(RuntimeError):
    """A stage did not finish; the message says why and holds what is needed to look into it."""


def task_options(stage: str, work_unit: WorkOf, retries: int = 2, delay_seconds: float = 2.0) -> dict[str, Any]:
    """Keyword arguments of `@task` for a unit of a stage's work.

    Args:
        stage: name of the stage; the task's tag and the prefix of its cache key.
        work_unit: maps the task's arguments by name to (folder of the work, its fingerprint).
        retries: how often a transient failure is tried again; other failures are final at once.
        delay_seconds: pause before the first retry, doubled for each further one.

    Returns:
        Arguments to spread into the decorator, beside `name` and `task_run_name`.
    """

    def cache_key(_context: Any, arguments: dict[str, Any]) -> str | None:
        folder, fingerprint = work_unit(arguments)
        return f"{stage}/{fingerprint}" if is_complete(folder, fingerprint) else None

    return {
        "tags": [stage],
        "retries": retries,
        "retry_delay_seconds": [delay_seconds * 2**attempt for attempt in range(retries)],
        "retry_condition_fn": is_transient,
        "cache_key_fn": cache_key,
        "persist_result": True,
        "result_serializer": "json",
    }


def is_transient(_task: Any, _run: Any, state: Any) -> bool:
    """Prefect's retry condition: whether the failed state carries an error that may not come back."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, TransientError | ConnectionError | TimeoutError)
