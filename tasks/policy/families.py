"""Which model families the policy computes right: found out when a run opens, by scoring a few tokens twice.

The policy replaces attention and the output layer of a transformers model. A family that scales its logits (Granite,
Cohere), caps them (Gemma 2) or attends in windows would be trained on wrong log-probabilities without a sign of it, so
16 tokens are scored by the policy and by the plain model, and a run whose two scores differ does not start.

Right on tiny random models, log-probabilities and gradients: Qwen2, Qwen3, Llama, Mistral, OLMo2, Phi3, SmolLM3.
Not covered: windows are refused by the config alone, since 16 tokens do not reach beyond them; rotary embeddings that
change beyond some length are transformers' own and are not looked at.
"""

from __future__ import annotations

import torch
from torch.distributed.fsdp import FSDPModule

from tasks.policy.kernels import PLAIN, KernelOptions, use_kernels
from tasks.policy.packing import PromptGroup, pack
from tasks.policy.policy_model import Policy
from tasks.study.errors import InputError

NUM_TOKENS = 16
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}
"""Mean difference of log-probabilities, nats: rounding in bfloat16 makes some 0.02."""


def require_supported_family(
    policy: Policy,
    precision: str,
    longest: int,
    device: torch.device,
    varlen: bool = False,
    kernels: KernelOptions = PLAIN,
) -> None:
    """Refuses a model that the policy does not compute as transformers does; a collective call where it is sharded.

    Between the two scores the model is switched over to `kernels`, so that the comparison holds for them as well.

    Args:
        policy: the policy, unwrapped.
        precision: of its forward pass, float32 or bfloat16.
        longest: tokens of the longest prompt with its completion.
        device: where it is.
        varlen: whether training uses the variable-length attention kernel.
        kernels: of the layers.

    Raises:
        InputError: the model has attention windows below `longest`, the kernels are not there, or the scores differ.
    """
    config = policy.model.config
    family = f"model family {config.model_type!r}"
    window = getattr(config, "sliding_window", None)
    if window is not None and window < longest:
        raise InputError(
            f"{family}: attends within windows of {window} tokens, but prompts with their completions may have "
            f"{longest}; the policy attends to all tokens"
        )
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, config.vocab_size, (NUM_TOKENS + 1,), generator=generator)
    packed = pack([PromptGroup((int(tokens[0]),), (tuple(tokens[1:].tolist()),))], varlen=varlen)
    plain = policy.plain_logprobs(tokens.to(device))
    use_kernels(policy.model, kernels)
    try:
        with torch.no_grad():
            ours = policy(packed.to(device))
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(f"{family}: the policy cannot compute it ({type(error).__name__}: {error})") from error
    difference = float((ours - plain).abs().mean())
    if isinstance(policy, FSDPModule):
        policy.reshard()  # a pass without gradients leaves the root's parameters gathered
    if not difference <= TOLERANCE[precision]:
        raise InputError(
            f"{family}: log-probabilities of the policy and of the plain model differ by {difference:.3g} nats a "
            f"token; the family does something to attention or logits that the policy does not"
        )
