"""The pieces around the vLLM engine that need no running engine."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.studies import make_evaluate_params, save_random_model

from tasks.policy.policy_model import tensor_checksum
from tasks.sampling.engines import open_engine
from tasks.sampling.protocol import GenerationBatch, Request, SamplingSettings
from tasks.sampling.vllm.head_padding import pad_config, pad_tensor, plan_head_padding
from tasks.sampling.vllm.probe import LogprobProbe, ProbeFailed
from tasks.sampling.vllm.staging import Staging, StaleWeights, check_checksums
from tasks.sampling.vllm.weights import (
    PREFIX,
    SHARED_MEMORY,
    make_staging_dir,
    state_dict,
    stored_tensors,
    write_staging_dir,
)
from tasks.study.errors import InputError
from tasks.study.params import Hardware, SizedHardware
from tasks.train.run_engine import EngineCache

SUPPORTED = [32, 64, 80, 96]
SETTINGS = SamplingSettings(n=2, temperature=1.0, top_p=1.0, max_tokens=4, seed=0)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_random_model(make_evaluate_params(tmp_path), "7k", 0, tmp_path / "model")
    return tmp_path / "model"


def config_of(**changes: Any) -> dict[str, Any]:
    base = {"model_type": "qwen2", "hidden_size": 24, "num_attention_heads": 2, "num_key_value_heads": 1}
    return base | {"rms_norm_eps": 1e-6, "rope_theta": 10000.0} | changes


def test_a_head_size_the_kernel_knows_is_left_alone() -> None:
    assert plan_head_padding(config_of(hidden_size=64), SUPPORTED) is None


def test_a_small_head_is_widened_to_the_next_size_with_unchanged_rotary_frequencies() -> None:
    widening = plan_head_padding(config_of(), SUPPORTED)
    assert widening is not None
    assert (widening.head_dim, widening.padded_head_dim, widening.padded_hidden) == (12, 32, 64)
    wide = pad_config(config_of(), widening)
    assert wide["hidden_size"] == 64
    assert wide["rope_parameters"]["partial_rotary_factor"] * 32 == 12
    assert wide["rms_norm_eps"] == pytest.approx(1e-6 * 24 / 64)


@pytest.mark.parametrize(
    "changes", [{"model_type": "llama"}, {"use_sliding_window": True}, {"quantization_config": {}}]
)
def test_what_cannot_be_widened_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"knows head sizes \[32, 64, 80, 96\], the checkpoint has 12"):
        plan_head_padding(config_of(**changes), SUPPORTED)


def test_widened_projections_and_norms_compute_the_same_on_padded_input() -> None:
    widening = plan_head_padding(config_of(), SUPPORTED)
    assert widening is not None
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 24, generator=generator)
    padded = torch.nn.functional.pad(x, (0, 40))
    down = torch.randn(24, 9, generator=generator)
    y = torch.randn(5, 9, generator=generator)
    assert torch.equal((y @ pad_tensor("mlp.down_proj.weight", down, widening).T)[:, :24], y @ down.T)
    value = torch.randn(12, 24, generator=generator)
    wide_value = padded @ pad_tensor("self_attn.v_proj.weight", value, widening).T
    torch.testing.assert_close(wide_value[:, :12], x @ value.T)
    assert wide_value[:, 12:].abs().max() == 0
    norm = torch.rand(24, generator=generator)
    eps = pad_config(config_of(), widening)["rms_norm_eps"]
    narrow = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * norm
    wide = padded * torch.rsqrt(padded.pow(2).mean(-1, keepdim=True) + eps) * pad_tensor("norm.weight", norm, widening)
    torch.testing.assert_close(wide[:, :24], narrow)


def test_a_weight_of_another_architecture_cannot_be_widened() -> None:
    widening = plan_head_padding(config_of(), SUPPORTED)
    assert widening is not None
    with pytest.raises(InputError, match=r"weight 'model.router.weight' is not one of a Qwen2 checkpoint"):
        pad_tensor("model.router.weight", torch.zeros(2, 24), widening)


def test_a_stage_holds_the_last_weights_and_nothing_else(tmp_path: Path) -> None:
    write_staging_dir(tmp_path, {"a": torch.zeros(3)})
    write_staging_dir(tmp_path, {"a": torch.ones(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert {name: tensor.tolist() for name, tensor in stored_tensors(tmp_path)} == {"a": [1.0, 1.0, 1.0]}


def test_weights_that_do_not_fit_into_memory_are_refused_before_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 8})())
    with pytest.raises(OSError, match="12 bytes of weights do not fit into 8 bytes free"):
        write_staging_dir(tmp_path, {"a": torch.zeros(3)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="no shared memory here")
def test_a_killed_process_leaves_no_weights_in_memory_for_long() -> None:
    code = "from tasks.sampling.vllm.weights import make_staging_dir; print(make_staging_dir())"
    left = Path(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip())
    assert left.is_dir()
    assert left.name.startswith(PREFIX)
    mine = make_staging_dir()
    assert not left.exists()
    assert make_staging_dir().parent == mine.parent
    assert mine.exists()


def test_a_partial_state_dict_is_refused(checkpoint: Path) -> None:
    staging = Staging(checkpoint, SUPPORTED)
    held = dict(stored_tensors(checkpoint))
    staging.check_complete({name: tuple(tensor.shape) for name, tensor in held.items()})
    with pytest.raises(StaleWeights, match=r"unknown \['extra'\]"):
        staging.write(held | {"extra": torch.zeros(1)})
    with pytest.raises(StaleWeights, match=r"wrong shape \['model.norm.weight'\]"):
        staging.write(held | {"model.norm.weight": torch.zeros(1)})
    staging.remove()


def test_workers_that_disagree_are_noticed() -> None:
    with pytest.raises(StaleWeights, match="differ among themselves"):
        check_checksums([{"a": [1, 2]}, {"a": [1, 3]}], None)
    with pytest.raises(StaleWeights, match="differ in b"):
        check_checksums([{"a": [1, 2]}], {"a": [1, 2], "b": [0, 0]})
    assert check_checksums([{"a": [1, 2]}, {"a": [1, 2]}], {"a": [1, 2]}) == {"a": [1, 2]}


def test_the_probe_of_a_large_model_must_not_change_unless_the_weights_do(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    probe = LogprobProbe(json.loads((checkpoint / "config.json").read_text()), 36, torch.float32)
    probe.check([-1.0, -2.0], None, "first")
    probe.check([-1.0, -2.009], None, "first")  # another order of a GPU's sums
    probe.check([-1.0, -2.5], None, "second")
    assert not caplog.records
    probe.check([-1.0, -2.5], None, "third")
    assert "from second to third, but the engine computes the same log-probs" in caplog.text
    with pytest.raises(ProbeFailed, match=r"third came again, but the engine's log-probs differ by 1\.00e-01"):
        probe.check([-1.0, -2.6], None, "third")
    with pytest.raises(ProbeFailed, match="differ by nan"):
        probe.check([-1.0, float("nan")], None, "third")


def test_the_probe_of_a_small_model_refuses_log_probabilities_that_are_no_numbers(checkpoint: Path) -> None:
    probe = LogprobProbe(json.loads((checkpoint / "config.json").read_text()), 36, torch.float32)
    weights = dict(stored_tensors(checkpoint))
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    with pytest.raises(ProbeFailed, match="differ by nan"):
        probe.check([float("nan")] * (len(probe.tokens) - 1), weights, "mark")


def test_asking_for_vllm_where_it_is_missing_says_what_to_install(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="vLLM is not installed; install it with `make setup ENGINE=vllm`"):
        open_engine("vllm", checkpoint, Hardware())


def test_an_unknown_engine_is_refused_with_those_that_exist(checkpoint: Path) -> None:
    with pytest.raises(InputError, match="engine 'sglang' is not known; expected one of transformers, vllm"):
        open_engine("sglang", checkpoint, Hardware())


@pytest.mark.vllm
def test_an_engine_lost_twice_stops_the_run(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed; `make setup ENGINE=vllm`")
    from tasks.sampling.vllm import engine as vllm_engine
    from tasks.sampling.vllm.process import EngineDied

    started = []

    class Dying:
        def __init__(self, arguments: dict[str, Any], patience: float) -> None:
            started.append((arguments["model"], arguments.get("load_format")))

        def call(self, method: str, folder: str, dtype: str) -> list[Any]:
            return [{name: tensor_checksum(tensor) for name, tensor in stored_tensors(Path(folder))}]

        def reset_prefix_cache(self) -> None:
            pass

        def enqueue(self, prompts: list[Any], params: list[Any]) -> list[str]:
            raise EngineDied("gone")

        def close(self) -> None:
            pass

    monkeypatch.setattr(vllm_engine, "EngineProcess", Dying)
    monkeypatch.setattr(vllm_engine.VllmEngine, "_score_probe", lambda self: [])
    monkeypatch.setattr(LogprobProbe, "check", lambda *_: None)
    engine = vllm_engine.VllmEngine(checkpoint, SizedHardware(), context=36)
    assert engine.update(state_dict(checkpoint, torch.float32).items()) == engine.fingerprint()
    with pytest.raises(EngineDied, match="lost and cannot start again"):
        list(engine.stream([GenerationBatch([Request("p", (5, 6))], SETTINGS)]))
    folder = started[0][0]
    assert started == [(folder, "dummy"), (folder, None)]  # nothing is read at the start; then the weights it had
    engine.close()
    assert not Path(folder).exists()


@pytest.mark.vllm
def test_weights_for_a_server_are_announced_in_the_order_they_are_sent() -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed; `make setup ENGINE=vllm`")
    from tasks.sampling.vllm.nccl_transfer import StateDictSource

    source = StateDictSource({"b": torch.zeros(2, 3), "a": torch.zeros(4, dtype=torch.bfloat16)})
    assert [(m.name, m.shape, m.dtype) for m in source.metadata()] == [
        ("b", (2, 3), torch.float32),
        ("a", (4,), torch.bfloat16),
    ]
    assert [name for name, _ in source] == [name for name, _ in source] == ["b", "a"]


class _Recorded:
    """An engine that only remembers what was done to it."""

    name = "recorded"
    restarted = False

    def __init__(self) -> None:
        self.done: list[str] = []

    def load(self, checkpoint: Path) -> str:
        self.done.append(f"load {checkpoint.name}")
        if checkpoint.name == "broken":
            raise RuntimeError("no such weights")
        return ""

    def close(self) -> None:
        self.done.append("close")


def test_the_next_run_of_a_kind_takes_the_engine_that_the_last_one_left() -> None:
    cache, made = EngineCache(), [_Recorded() for _ in range(4)]
    stream = iter(made)

    def take(kind: str, checkpoint: str = "a") -> Any:
        return cache.acquire(kind, Path(checkpoint), lambda: next(stream))  # type: ignore[arg-type, return-value]

    first = take("3k")
    cache.release(first, reusable=True)
    assert take("3k", "b") is first
    assert first.done == ["load b"]
    cache.release(first, reusable=True)
    second = take("7k")
    assert second is made[1]
    assert first.done == ["load b", "close"]
    cache.release(second, reusable=False)
    assert second.done == ["close"]
    third = take("7k")
    assert third is made[2]
    third.restarted = True
    cache.release(third, reusable=True)
    assert third.done == ["close"]
    fourth = take("7k")
    cache.release(fourth, reusable=True)
    with pytest.raises(RuntimeError, match="no such weights"):
        take("7k", "broken")
    assert fourth.done == ["load broken", "close"]
    foreign = _Recorded()
    cache.release(foreign, reusable=True)  # type: ignore[arg-type]
    assert foreign.done == ["close"]
