"""Faster kernels for a model's layers, on request: Liger's norms, rotary embedding and SwiGLU, and torch.compile.

transformers computes a norm, a rotation or a gated product as a row of small kernels, each of which reads and writes
the activations once. Liger (arXiv 2410.10989) has one Triton kernel for each; torch.compile fuses what stands between
matrix products by itself. Both change the last bits of results, hence no default. Liger's losses are not used:
`tasks.policy.logprobs` has ours.

Not covered: both together, which Dynamo does not trace (Liger 0.8.5, torch 2.11).
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from tasks.study.errors import InputError


@dataclass(frozen=True)
class KernelOptions:
    """Which kernels to use.

    Attributes:
        liger: Liger's instead of transformers' norms, rotary embedding and SwiGLU.
        compiled: whether each layer is compiled.
        backend: torch.compile's.
    """

    liger: bool = False
    compiled: bool = False
    backend: str = "inductor"


PLAIN = KernelOptions()
ROTATION = "apply_rotary_pos_emb"
"""What transformers calls the function in a family's module."""


def use_kernels(model: PreTrainedModel, options: KernelOptions) -> None:
    """Switches a model's layers over, in place.

    Raises:
        InputError: Liger is not installed, has nothing for the model's family, there is no GPU, or both are wanted.
    """
    if options.liger and options.compiled:
        raise InputError("hardware.kernels is liger and hardware.compile_layers is on; choose one of them")
    if options.liger:
        _use_liger(model)
    if options.compiled:
        body: Any = model.model
        for layer in body.layers:
            # The forward alone: FSDP2's hooks and recomputation stay outside of the compiled graph.
            layer.forward = torch.compile(layer.forward, dynamic=True, backend=options.backend)


def _use_liger(model: PreTrainedModel) -> None:
    if importlib.util.find_spec("liger_kernel") is None:
        raise InputError("hardware.kernels is liger, but liger-kernel is not installed; install requirements/gpu.lock")
    if not torch.cuda.is_available():
        raise InputError("hardware.kernels is liger, which needs a GPU; use transformers on this machine")
    from liger_kernel.transformers.monkey_patch import MODEL_TYPE_TO_APPLY_LIGER_FN

    family = model.config.model_type
    if family not in MODEL_TYPE_TO_APPLY_LIGER_FN:
        raise InputError(f"hardware.kernels is liger, which has no kernels for model family {family!r}")
    # Liger also exchanges the classes in the family's module, so that every later model of the process would have its
    # kernels, those on a CPU too. The rotation is a function there: it stays exchanged, for tensors on a GPU.
    own = next(
        kind for kind in type(model).__mro__ if kind.__module__.startswith("transformers.models.")
    )  # FSDP2 derives
    names: dict[str, Any] = vars(sys.modules[own.__module__])
    before = dict(names)
    MODEL_TYPE_TO_APPLY_LIGER_FN[family](
        rope=True, rms_norm=True, swiglu=True, cross_entropy=False, fused_linear_cross_entropy=False, model=model
    )
    after = dict(names)
    names.update(before)
    if after.get(ROTATION) is not before.get(ROTATION) and not hasattr(before[ROTATION], "on_gpu"):
        names[ROTATION] = _Rotation(before[ROTATION], after[ROTATION])


class _Rotation:
    """A family's rotary embedding: one function on a GPU, another one elsewhere."""

    def __init__(self, plain: Callable[..., Any], on_gpu: Callable[..., Any]) -> None:
        self.plain, self.on_gpu = plain, on_gpu

    def __call__(self, q: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Rotates queries and keys."""
        return (self.on_gpu if q.is_cuda else self.plain)(q, *args, **kwargs)
