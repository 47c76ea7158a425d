"""Tiny random models of the families that the policy computes."""

from __future__ import annotations

from typing import Any

import torch
import transformers

FAMILIES = ("Qwen2", "Qwen3", "Llama", "Mistral", "Olmo2", "Phi3", "SmolLM3")
SHAPE: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def random_model(family: str, **config: Any) -> Any:
    """A random model with weights large enough for logits to matter."""
    torch.manual_seed(0)
    kind = {"Gemma3": "Gemma3Text"}.get(family, family)
    model = getattr(transformers, f"{family}ForCausalLM")(getattr(transformers, f"{kind}Config")(**SHAPE, **config))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(3.0)
    return model.eval()
