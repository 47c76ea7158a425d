"""vLLM's engine process, with an end to every wait: a process that died or hangs raises, it never blocks.

vLLM 0.32 marks its client dead when the engine process is killed, but a caller that is already waiting for output or
for a remote call keeps waiting. A watchdog thread ends those waits, and kills a process that has not answered for
`timeout_s` seconds. It reaches into vLLM's synchronous client for that (`outputs_queue`, `utility_results`,
`resources`); this version has no public way.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams

    from tasks.sampling.vllm.device_buffer import Entry, Handles
    from tasks.sampling.vllm.staging import Checksums

logger = logging.getLogger(__name__)

ANSWER_TIMEOUT = 600.0
"""Seconds without an answer after which the engine counts as hung. First steps on a GPU may compile for minutes."""


class EngineDied(RuntimeError):
    """The engine process died or was killed; the weights it held are gone with it."""


class EngineProcess:
    """A running `vllm.LLM` whose engine lives in a process of its own.

    Attributes:
        timeout_s: seconds an answer may take; may be changed while it runs.
        llm: the `vllm.LLM` itself, for measurements.
    """

    def __init__(self, arguments: dict[str, Any], timeout_s: float = ANSWER_TIMEOUT) -> None:
        """Starts the engine; takes half a minute or more.

        Args:
            arguments: of `vllm.LLM`.
            timeout_s: seconds an answer may take.
        """
        from vllm import LLM

        with _no_compilation(bool(arguments.get("enforce_eager"))):
            llm: Any = LLM(**arguments)
        self.llm = llm
        self._client = llm.llm_engine.engine_core
        self._processes = list(self._client.resources.engine_manager.processes)
        self.timeout_s = timeout_s
        self._since: float | None = None
        self._closed = threading.Event()
        threading.Thread(target=self._watch, daemon=True, name="vllm-watchdog").start()

    @property
    def pids(self) -> list[int]:
        """Process ids of the engine."""
        return [process.pid for process in self._processes]

    def enqueue(self, prompts: Sequence[Sequence[int]], params: Sequence[SamplingParams]) -> list[str]:
        """Queues prompts; returns the request ids that their outputs will carry."""
        entries = [{"prompt_token_ids": list(tokens)} for tokens in prompts]
        with self._waiting():
            internal = self.llm.enqueue(entries, list(params), use_tqdm=False)
        # Inside the engine a random part is appended, `17-9f3a01bc`; outputs carry the part before it.
        return [name.partition("-")[0] for name in internal]

    def finished(self) -> Iterator[RequestOutput]:
        """Yields requests as they finish, until none is left.

        Raises:
            EngineDied: the process died or hung.
        """
        while self.llm.llm_engine.has_unfinished_requests():
            with self._waiting():
                outputs = self.llm.llm_engine.step()
            yield from (output for output in outputs if output.finished)

    def abort(self, requests: Sequence[str]) -> None:
        """Drops requests."""
        with self._waiting():
            self.llm.llm_engine.abort_request(list(requests))

    def call(self, method: str, *arguments: Any) -> list[Any]:
        """Calls a method of every worker; returns their results.

        Raises:
            EngineDied: the process died or hung.
        """
        with self._waiting():
            return list(self.llm.collective_rpc(method, args=arguments))

    def reset_prefix_cache(self) -> None:
        """Empties the prefix cache, whose entries belong to the old weights.

        Raises:
            RuntimeError: requests are still running.
        """
        with self._waiting():
            done = self.llm.reset_prefix_cache()
        if not done:
            raise RuntimeError("vLLM did not empty its prefix cache: requests are still running")

    def sleep(self) -> None:
        """Gives the device's memory back: weights and cache are dropped."""
        with self._waiting():
            self.llm.sleep(level=2)

    def wake(self, *tags: str) -> None:
        """Takes memory again, for `weights` or `kv_cache`."""
        with self._waiting():
            self.llm.wake_up(tags=list(tags))

    def close(self) -> None:
        """Ends the engine and its processes."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._client.shutdown()
        for process in self._processes:
            process.join(timeout=10)
            if process.is_alive():
                process.kill()

    @contextlib.contextmanager
    def _waiting(self) -> Iterator[None]:
        from vllm.v1.engine.exceptions import EngineDeadError

        self._since = time.monotonic()
        try:
            yield
        except EngineDeadError as error:
            raise EngineDied("the vLLM engine process died or did not answer") from error
        finally:
            self._since = None

    def _watch(self) -> None:
        while not self._closed.wait(0.2):
            since = self._since
            if since is None:
                continue
            if time.monotonic() - since > self.timeout_s:
                logger.error("vLLM has not answered for %.0f seconds; its process is killed", self.timeout_s)
                for process in self._processes:
                    process.kill()
            if not all(process.is_alive() for process in self._processes):
                self._end_waits()

    def _end_waits(self) -> None:
        from vllm.v1.engine.exceptions import EngineDeadError

        self._client.resources.engine_dead = True
        self._client.outputs_queue.put_nowait(EngineDeadError())
        for future in list(self._client.utility_results.values()):
            if not future.done():
                future.set_exception(EngineDeadError())


class EngineWorkers:
    """An engine's workers; see `buckets.BucketTarget`."""

    def __init__(self, process: EngineProcess) -> None:
        """Takes the engine's process."""
        self._process = process

    def open_buffers(self, handles: Handles) -> None:
        """Each worker opens the buffer of its device."""
        self._process.call("rlscale_open_buffers", handles)

    def load_bucket(self, entries: list[Entry]) -> list[Checksums]:
        """Each worker loads a bucket; returns what each of them read."""
        results: list[Checksums] = self._process.call("rlscale_load_bucket", entries)
        return results

    def close_buffers(self) -> None:
        """The workers complete their models."""
        self._process.call("rlscale_close_buffers")


@contextlib.contextmanager
def _no_compilation(eager: bool) -> Iterator[None]:
    """In eager mode the engine's few compiled helpers would cost more time than they save in a small study."""
    if not eager or "TORCHDYNAMO_DISABLE" in os.environ:
        yield
        return
    os.environ["TORCHDYNAMO_DISABLE"] = "1"
    try:
        yield
    finally:
        del os.environ["TORCHDYNAMO_DISABLE"]
