"""Model families and kernels: the policy gives the plain transformers model's numbers, or the run does not start."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from support.families import FAMILIES, random_model
from support.studies import study_to_train

from tasks.policy.families import require_supported_family
from tasks.policy.kernels import KernelOptions, use_kernels
from tasks.policy.packing import PromptGroup, pack
from tasks.policy.policy_model import Policy
from tasks.study.errors import InputError
from tasks.train.loop import train_job

CPU = torch.device("cpu")
GROUPS = [PromptGroup((5, 6, 7), ((8, 9), (10,), (11, 12, 13))), PromptGroup((14, 3), ((15, 16, 17, 18), (19, 5)))]


def _plain(model: Any) -> torch.Tensor:
    found = []
    for group in GROUPS:
        for completion in group.completions:
            logits = model(torch.tensor([[*group.prompt, *completion]])).logits[0].log_softmax(-1)
            start = len(group.prompt) - 1
            found += [logits[start + place, token] for place, token in enumerate(completion)]
    return torch.stack(found)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_log_probs_and_gradients_are_the_plain_models(family: str, tied: bool) -> None:
    model = random_model(family, tie_word_embeddings=tied)
    weights = torch.linspace(-1, 1, 12)
    expected = _plain(model)
    (expected * weights).sum().backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    model.zero_grad(set_to_none=True)
    policy = Policy(model)
    found = policy(pack(GROUPS))
    (found * weights).sum().backward()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-4, rtol=1e-3, msg=name)
    require_supported_family(policy, "float32", 64, CPU)
    assert torch.equal(policy(pack(GROUPS)), found)  # the check leaves the policy as it was


@pytest.mark.parametrize(
    ("family", "config"),
    [
        ("Granite", {"logits_scaling": 4.0}),
        ("Cohere", {}),
        ("Gemma2", {}),
        ("Gemma3", {}),
        ("StableLm", {}),
    ],
)
def test_a_family_that_would_be_trained_on_other_log_probs_is_refused_by_name(
    family: str, config: dict[str, Any]
) -> None:
    policy = Policy(random_model(family, **config))
    with pytest.raises(InputError, match=rf"model family '{family.lower()}"):
        require_supported_family(policy, "float32", 64, CPU)


def test_an_attention_window_is_refused_only_where_a_sequence_could_leave_it() -> None:
    policy = Policy(random_model("Mistral", sliding_window=32))
    require_supported_family(policy, "float32", 32, CPU)
    with pytest.raises(InputError, match="windows of 32 tokens, but prompts with their completions may have 33"):
        require_supported_family(policy, "float32", 33, CPU)


@pytest.mark.slow
def test_compiled_layers_have_the_same_numbers_for_batches_of_any_shape() -> None:
    policy, compiled = (Policy(random_model("Qwen2")) for _ in range(2))
    # The graphs that Dynamo traces, without the C++ compiler's minute; a batch of another shape must not break them.
    use_kernels(compiled.model, KernelOptions(compiled=True, backend="eager"))
    assert policy.state_dict().keys() == compiled.state_dict().keys()
    torch._dynamo.utils.counters.clear()
    for size in range(1, 4):
        packed = pack([*GROUPS, PromptGroup((5,) * size, ((6,) * (2 * size), (7,)))])
        found = []
        for one in (policy, compiled):
            logp = one(packed)
            found.append((logp, *torch.autograd.grad(logp.sum(), list(one.parameters()))))
        torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-5)
    counters = torch._dynamo.utils.counters
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] <= 2


def test_kernels_that_are_not_installed_are_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"hardware.kernels is liger, but liger-kernel is not installed"):
        use_kernels(random_model("Qwen2"), KernelOptions(liger=True))


def test_ligers_kernels_stay_with_the_model_that_asked_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.qwen2 import modeling_qwen2

    def patch(model: torch.nn.Module, **chosen: bool) -> None:  # as Liger does: the instance, and the family's module
        model.model.norm.forward = "Liger's"
        modeling_qwen2.Qwen2RMSNorm = modeling_qwen2.Qwen2MLP = object
        modeling_qwen2.apply_rotary_pos_emb = lambda *args, **kwargs: "Liger's"

    package, part = ModuleType("liger_kernel"), ModuleType("liger_kernel.transformers.monkey_patch")
    part.MODEL_TYPE_TO_APPLY_LIGER_FN = {"qwen2": patch}
    for name, module in {"": package, ".transformers": ModuleType(""), ".transformers.monkey_patch": part}.items():
        monkeypatch.setitem(sys.modules, f"liger_kernel{name}", module)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: package)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(modeling_qwen2, "apply_rotary_pos_emb", modeling_qwen2.apply_rotary_pos_emb)
    other, asking = (random_model("Qwen2") for _ in range(2))
    want = other(torch.arange(1, 9)[None]).logits
    for _ in range(2):
        use_kernels(asking, KernelOptions(liger=True))
    assert asking.model.norm.forward == "Liger's"
    torch.testing.assert_close(other(torch.arange(1, 9)[None]).logits, want, atol=0, rtol=0)
    assert isinstance(random_model("Qwen2").model.norm, type(other.model.norm))
    with pytest.raises(InputError, match="choose one of them"):
        use_kernels(asking, KernelOptions(liger=True, compiled=True))


def test_compiled_layers_that_are_recomputed_need_the_variable_length_kernel(tmp_path: Path) -> None:
    params, run = study_to_train(tmp_path, hardware={"compile_layers": True, "gradient_checkpointing": True})
    with pytest.raises(InputError, match="needs variable-length attention"):
        train_job(params.model_dump_json(), asdict(run), "tiny")
