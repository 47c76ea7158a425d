"""What needs an accelerator: bfloat16 training on one GPU, and the memory estimate against the real peak.

pytest tests/gpu -m gpu
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.studies import numbers, study_to_train
from transformers import Qwen2Config, Qwen2ForCausalLM

from tasks.costs.memory import GIB, Devices, estimate
from tasks.costs.model_shape import read_shape
from tasks.policy.attention import supports_varlen
from tasks.policy.families import require_supported_family
from tasks.policy.kernels import PLAIN, KernelOptions
from tasks.policy.packing import PromptGroup, pack
from tasks.policy.policy_model import Policy
from tasks.train.loop import train_job
from tasks.train.parallel import build_policy, init_parallel

pytestmark = [pytest.mark.gpu, pytest.mark.slow, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]

MISMATCH = {"float32": 0.001, "bfloat16": 0.10}
"""Largest share of tokens whose sampler/trainer ratio may leave [0.9, 1.1]. A real Qwen2.5-0.5B in bfloat16 has 0.075
(TRL issue 6789), sharper distributions more; in float32 both sides compute the same."""


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_trains_on_the_gpu(tmp_path: Path, precision: str) -> None:
    train = {"steps": 3, "batch": 8, "group_size": 4, "minibatch": 4, "precision": precision}
    params, run = study_to_train(tmp_path, train=train)
    train_job(params.model_dump_json(), asdict(run), "tiny")
    rows = numbers(params, run)
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert all(row["grad_norm"] > 0 for row in rows[1:])
    assert all(row["mismatch_share"] < MISMATCH[precision] for row in rows[1:])


def test_flash_attention_over_ragged_sequences_gives_the_blocks_numbers(tmp_path: Path) -> None:
    config = Qwen2Config(
        vocab_size=512, hidden_size=256, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path)
    parallel = init_parallel("bfloat16")
    device = parallel.accelerator.device
    assert supports_varlen(device, "bfloat16", 64)
    policy: Policy = build_policy(parallel, tmp_path)
    groups = [
        PromptGroup(tuple(range(1, 30 + place)), tuple(tuple(range(2, 90 + 17 * n)) for n in range(5)))
        for place in range(4)
    ]
    found = []
    for varlen in (False, True):
        policy.zero_grad()
        logp = policy(pack(groups, varlen=varlen).to(device))
        logp.mean().backward()
        grads = [p.grad.full_tensor().flatten() for p in policy.parameters() if p.grad is not None]
        found.append((logp.detach(), torch.cat(grads)))
    torch.testing.assert_close(found[0][0], found[1][0], atol=5e-2, rtol=5e-2)
    cosine = torch.nn.functional.cosine_similarity(found[0][1], found[1][1], dim=0)
    assert float(cosine) > 0.999


@pytest.mark.parametrize(("liger", "compiled"), [(True, False), (False, True)])
def test_faster_kernels_give_the_plain_numbers(tmp_path: Path, liger: bool, compiled: bool) -> None:
    config = Qwen2Config(
        vocab_size=512, hidden_size=256, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
    )
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path)
    parallel = init_parallel("bfloat16")
    device = parallel.accelerator.device
    groups = [PromptGroup(tuple(range(1, 30)), tuple(tuple(range(2, 90 + 17 * n)) for n in range(5)))]
    packed = pack(groups, varlen=True).to(device)
    found = []
    for kernels in (PLAIN, KernelOptions(liger, compiled)):
        policy = build_policy(parallel, tmp_path)
        require_supported_family(policy, "bfloat16", 4096, device, True, kernels)
        logp = policy(packed)
        logp.mean().backward()
        grads = [p.grad.full_tensor().flatten() for p in policy.parameters() if p.grad is not None]
        found.append((logp.detach(), torch.cat(grads)))
    torch.testing.assert_close(found[0][0], found[1][0], atol=5e-2, rtol=5e-2)
    assert float(torch.nn.functional.cosine_similarity(found[0][1], found[1][1], dim=0)) > 0.999


def test_the_estimate_is_near_the_peak_of_an_update(tmp_path: Path) -> None:
    config = Qwen2Config(
        hidden_size=896, num_hidden_layers=12, num_attention_heads=14, num_key_value_heads=2, intermediate_size=4864
    )
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path)
    parallel = init_parallel("bfloat16")
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    policy: Policy = build_policy(parallel, tmp_path)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-6, fused=True)
    groups = [PromptGroup(tuple(range(1, 301)), tuple(tuple(range(2, 702)) for _ in range(4))) for _ in range(4)]
    packed = pack(groups).to(parallel.accelerator.device)
    for _ in range(2):
        policy(packed).mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    peak = torch.cuda.max_memory_allocated() - before
    params, _ = study_to_train(tmp_path / "study", train={"precision": "bfloat16", "engine": "vllm"})
    hardware = params.hardware.of_size("3k").model_copy(update={"token_budget": packed.input_ids.numel()})
    needed = estimate(params, hardware, read_shape(tmp_path), Devices(1, 1, True, 80 * GIB))
    expected = needed.trainer - needed.resident["reference"]
    assert peak <= expected
    assert peak / GIB == pytest.approx(expected / GIB, rel=0.35)
