"""A job's answer: what its function returned or raised, how that travels, and what the parent raises.

| kind | the job | the parent raises |
|---|---|---|
| done | returned | nothing |
| input | found bad input | `InputError` |
| memory | ran out of the device's or the host's memory | `OutOfMemory` |
| failed | raised anything else | `JobFailed` |
| lost | missed a process, node, device or engine that it worked with | `WorkerDied` |
| stopped | was asked to stop and saved its work | `JobPreempted` |
"""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tasks.runtime.prefect_options import TransientError
from tasks.runtime.stop_request import JobStopped
from tasks.study.errors import InputError


class WorkerDied(TransientError):
    """The job's process, or what it worked with, was lost; the job may be tried again."""


class JobPreempted(WorkerDied):
    """The job was asked to stop and saved its work; the next launch continues there."""


class LaunchFailed(WorkerDied):
    """The worker process did not start; its log says why."""


class WorkCancelled(RuntimeError):
    """The workers were ended while the job ran or waited; it is not to be tried again."""


class JobFailed(RuntimeError):
    """The job raised; the message is the worker's traceback."""


class OutOfMemory(JobFailed):
    """The job ran out of the device's memory, or of the host's."""


Answer = tuple[str, Any]
"""Kind, and the value returned or a text."""

ERRORS: Mapping[str, type[Exception]] = {
    "input": InputError,
    "memory": OutOfMemory,
    "failed": JobFailed,
    "lost": WorkerDied,
    "stopped": JobPreempted,
}
"""Of several ranks' answers the first kind in this order counts: the others only follow from it."""

LOST_TYPES = frozenset({"DistError", "AcceleratorError", "EngineDied", "EngineLost", "ProbeFailed", "ConnectionError"})
"""Names of the errors, or of their bases, that tell of something lost: torch.distributed's (a rank, a time-out),
torch's for a device, the engines', a socket's. By name, so that nothing is imported for the question."""

LOST_MESSAGES = re.compile(
    r"gloo/|Connection (reset|closed|refused)|Broken pipe|Timed out waiting|[Tt]imeout.*(collective|store|socket)"
    r"|NCCL|CUDA error|CUDA driver error|ECC error|[Uu]nhandled (cuda|system) error"
)
"""What the same losses say where they come as a plain RuntimeError, as gloo's do."""


def answer_job(function: str, arguments: Mapping[str, Any]) -> Answer:
    """Does a job, `package.module:function`, in this process. The boundary: whatever it raises becomes an answer."""
    module, name = function.split(":")
    try:
        return "done", getattr(importlib.import_module(module), name)(**arguments)
    except InputError as error:
        return "input", str(error)
    except JobStopped as error:
        return "stopped", str(error)
    except Exception as error:
        kind = "memory" if _is_memory(error) else "lost" if any(map(_is_loss, _causes(error))) else "failed"
        return kind, traceback.format_exc()


def unwrap_answer(answer: Answer) -> Any:
    """The value of an answer. Raises the error of its kind."""
    kind, value = answer
    if kind == "done":
        return value
    raise ERRORS[kind](value)


def decisive_answer(answers: Mapping[int, Answer]) -> Answer:
    """Of all ranks' answers the one that counts: the gravest failure, else rank 0's."""
    for kind in ERRORS:
        for answer in answers.values():
            if answer[0] == kind:
                return answer
    return answers[0]


def is_cause(answers: Iterable[Answer]) -> bool:
    """Whether an answer explains that other ranks ended without one."""
    return any(kind in ("input", "memory") for kind, _ in answers)


def _is_memory(error: Exception) -> bool:
    """Whether memory ran out; torch's own error is looked for only where the job has imported it."""
    torch = sys.modules.get("torch")
    return isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and those it was raised from or while handling."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _is_loss(error: BaseException) -> bool:
    names = {base.__name__ for base in type(error).__mro__}
    return bool(names & LOST_TYPES) or (isinstance(error, RuntimeError) and bool(LOST_MESSAGES.search(str(error))))
