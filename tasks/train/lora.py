"""Low-rank adapters: W + (alpha / rank) B A in place of W, with W frozen.

The adapters are peft's layers inside the ordinary model. The reference policy is the same model with the adapters
scaled to zero, so there is no second copy of the weights. The sampler and the exported checkpoint get merged weights
and know nothing of adapters.

Difference from peft: the initial A is sampled per matrix from (seed, index of the matrix), not from a global stream,
so it does not depend on how the model is distributed over processes.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel

from tasks.study.errors import InputError
from tasks.study.params import Lora

ADAPTER = "default"


def add_adapters(model: PreTrainedModel, lora: Lora, on_meta: bool = False) -> None:
    """Puts untrained adapters into a model and freezes everything else.

    Args:
        model: changed in place.
        lora: rank, alpha and the names of the matrices.
        on_meta: leave the adapters without storage, as the rest of the model is.

    Raises:
        InputError: the model has no matrix of a given name.
    """
    names = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    for target in lora.targets:
        if target not in names:
            raise InputError(f"train.lora.targets: the model has no matrix named {target!r}")
    alpha: Any = lora.alpha  # peft's annotation says int; it computes alpha / rank
    config = LoraConfig(r=lora.rank, lora_alpha=alpha, target_modules=list(lora.targets), lora_dropout=0.0, bias="none")
    with torch.random.fork_rng():
        inject_adapter_in_model(config, model, ADAPTER, low_cpu_mem_usage=on_meta)


def is_adapter(name: str) -> bool:
    """Whether a parameter's name is an adapter's."""
    return ".lora_" in name


def base_name(name: str) -> str:
    """Name that a parameter has in a model without adapters."""
    return name.replace(".base_layer.", ".")


def initial_adapter(name: str, shape: torch.Size, seed: int, number: int) -> torch.Tensor:
    """Initial value of an adapter matrix: A uniform in +-1/sqrt(inputs), B zero, so that training starts at W.

    Args:
        name: parameter name.
        shape: its whole shape.
        seed: the run's seed.
        number: index of the matrix among the model's adapters.
    """
    if ".lora_A." not in name:
        return torch.zeros(shape)
    bound = 1.0 / math.sqrt(shape[-1])
    return torch.empty(shape).uniform_(
        -bound, bound, generator=torch.Generator().manual_seed(seed * 1_000_003 + number)
    )


def adapted_layers(model: torch.nn.Module) -> dict[str, LoraLayer]:
    """The layers that carry adapters, by the name of their weight in a model without."""
    return {f"{name}.weight": layer for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}


@contextlib.contextmanager
def adapters_off(model: torch.nn.Module) -> Iterator[None]:
    """Inside, the model computes what it did before training: the adapters' part is multiplied by zero."""
    layers = adapted_layers(model).values()
    for layer in layers:
        layer.set_scale(ADAPTER, 0.0)
    try:
        yield
    finally:
        for layer in layers:
            layer.set_scale(ADAPTER, 1.0)
