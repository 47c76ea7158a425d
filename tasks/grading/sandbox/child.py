"""The sandboxed interpreter of the program: runs it, then answers calls of its functions until the tests are done.

Started by `sandbox.run_program` as `python -I -S child.py REQUESTS REPLIES MEMORY_MB CPU_SECONDS PARENT_PID` (the first
two are descriptors), in a session and an empty folder of its own. One JSON text a line: the first request is the
program, answered by "passed" or why not; every further one a call [name, arguments, keyword arguments], answered by
["value", v], ["raised", names of the built-in classes of the exception, message] or ["ended", reason].

Nothing here is trusted: the program may answer whatever it likes. It has no part of the tests but the arguments of
the calls, so that it can only pass by returning what they expect.
"""

from __future__ import annotations

import builtins
import json
import os
import sys
import types
from typing import Any


def main() -> None:
    """Locks the process down, runs the program and answers calls."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, here)
    import confinement
    from plain_values import decode, encode

    sys.path.remove(here)
    requests, replies, memory_mb, cpu_seconds, parent = (int(argument) for argument in sys.argv[1:6])
    if not confinement.lock_down(memory_mb, cpu_seconds, parent):
        os._exit(1)
    # `__name__` is not "__main__": such blocks do not run. Dataclasses and pickles look the module up by its name.
    module = types.ModuleType("answer")
    sys.modules["answer"] = module

    def call(name: str, arguments: Any, keywords: Any) -> list[Any]:
        try:
            function = vars(module)[name]
        except KeyError:
            return ["ended", "NameError was raised"]
        try:
            return ["value", encode(function(*decode(arguments), **decode(keywords)))]
        except Exception as error:
            kinds = [kind.__name__ for kind in type(error).__mro__ if getattr(builtins, kind.__name__, None) is kind]
            return ["raised", kinds, str(error)]
        except BaseException as error:
            return ["ended", confinement.failure(error)]

    with os.fdopen(requests, "rb") as incoming, os.fdopen(replies, "wb", buffering=0) as outgoing:
        outcome = confinement.run_source(json.loads(incoming.readline()), "<answer>", vars(module))
        _write(outgoing, outcome)
        for line in incoming:
            _write(outgoing, call(*json.loads(line)))
    os._exit(0)


def _write(outgoing: Any, reply: Any) -> None:
    data = memoryview(json.dumps(reply).encode("ascii") + b"\n")
    while data:
        data = data[outgoing.write(data) :]


main()
