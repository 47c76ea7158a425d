"""Opens an engine by name; one way to sample from any of them.

The engines themselves are imported when one is opened: neither torch nor vLLM is needed to import this module.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

from tasks.sampling.protocol import Completion, Engine, GenerationBatch, StreamingEngine
from tasks.study.errors import InputError
from tasks.study.params import SizedHardware

ENGINES = ("transformers", "vllm")


def stream(engine: Engine, batches: Sequence[GenerationBatch]) -> Iterator[tuple[int, int, list[Completion]]]:
    """Samples all batches: together where the engine can, else one after another.

    Raises:
        InputError: a prompt and its completion do not fit the model's context; the prompt is named.
    """
    if isinstance(engine, StreamingEngine):
        yield from engine.stream(batches)
        return
    for index, batch in enumerate(batches):
        for request, completions in enumerate(engine.generate(batch.requests, batch.settings)):
            yield index, request, completions


def open_engine(
    kind: str,
    checkpoint: Path,
    hardware: SizedHardware,
    precision: str = "float32",
    context: int | None = None,
    colocated: bool = False,
) -> Engine:
    """Opens an engine that holds a checkpoint's weights.

    Args:
        kind: `transformers` or `vllm`.
        checkpoint: a transformers checkpoint with its tokenizer.
        hardware: threads, batch sizes and vLLM's settings.
        precision: `float32` or `bfloat16`.
        context: longest prompt plus completion of any request, tokens; None: the model's own limit.
        colocated: whether a trainer in this process shares the device.

    Raises:
        InputError: no such engine, or it is not installed; the message says what to install.
    """
    if kind == "transformers":
        import torch

        from tasks.sampling.transformers_engine import TransformersEngine

        device = "cuda" if torch.cuda.is_available() else "cpu"
        return TransformersEngine(checkpoint, hardware.generation_batch, device, precision)
    if kind == "vllm" and hardware.vllm.mode == "server":
        from tasks.sampling.vllm.weight_update import UpdatableServerEngine

        if hardware.vllm.server is None:
            raise InputError("hardware.vllm.mode is server, but hardware.vllm.server gives no URL")
        return UpdatableServerEngine(hardware.vllm.server, checkpoint, precision)
    if kind == "vllm":
        require_vllm()
        from tasks.sampling.vllm.engine import VllmEngine

        return VllmEngine(checkpoint, hardware, precision, context, colocated)
    raise InputError(f"engine {kind!r} is not known; expected one of {', '.join(ENGINES)}")


def require_vllm() -> None:
    """Checks that vLLM is installed.

    Raises:
        InputError: it is not; the message says what to install.
    """
    if importlib.util.find_spec("vllm") is None:
        raise InputError(
            "engine vllm is asked for, but vLLM is not installed; "
            "install it with `make setup ENGINE=vllm` (CPU) or from requirements/gpu.lock (GPU)"
        )
