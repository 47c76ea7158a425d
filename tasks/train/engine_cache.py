"""The engine of a worker's last run, kept for its next run of the same architecture.

Starting vLLM takes half a minute, as long as a run of the miniature. A training worker on a CPU does many runs one
after another, most of them of one size: the next run loads its checkpoint into the engine that is already there. After
a failure nothing is kept. Workers on GPUs do one run each and keep nothing.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from pathlib import Path

from tasks.sampling.protocol import Engine


class EngineCache:
    """Holds at most one engine that nobody uses."""

    def __init__(self) -> None:
        """Empty."""
        self._idle: tuple[str, Engine] | None = None
        self._lent: dict[int, str] = {}

    def acquire(self, key: str, checkpoint: Path, opened: Callable[[], Engine]) -> Engine:
        """An engine that holds a checkpoint's weights: the kept one if it is of this kind, else a new one.

        Args:
            key: equal for runs that can share an engine.
            checkpoint: of the run.
            opened: starts an engine on it.
        """
        idle, self._idle = self._idle, None
        if idle is not None and idle[0] == key:
            engine = idle[1]
            try:
                engine.load(checkpoint)
            except BaseException:
                engine.close()
                raise
        else:
            if idle is not None:
                idle[1].close()
            engine = opened()
        self._lent[id(engine)] = key
        return engine

    def release(self, engine: Engine, sound: bool) -> None:
        """Keeps an engine that came from here and did its run without a restart; ends any other."""
        key = self._lent.pop(id(engine), None)
        if key is None or not sound or engine.restarted:
            engine.close()
            return
        self.clear()
        self._idle = (key, engine)

    def clear(self) -> None:
        """Ends the kept engine."""
        idle, self._idle = self._idle, None
        if idle is not None:
            idle[1].close()


ENGINE_CACHE = EngineCache()
atexit.register(ENGINE_CACHE.clear)
