"""vLLM's settings, chosen from the params and the machine. Imports vLLM, so only the engine imports this."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil

from tasks.study.params import SizedHardware

KEY, TEMPERATURE, TOP_P = "rlscale_key", "rlscale_temperature", "rlscale_top_p"
"""Names under which a request carries its key and settings to the worker."""

COUNTER_SAMPLER = "tasks.sampling.vllm.sampler:CounterBasedSampler"
WEIGHT_UPDATE_WORKER = "tasks.sampling.vllm.worker.WeightUpdateWorker"
CPU_CACHE_BYTES = 1 << 30
CPU_CACHE_FRACTION = 0.05


def set_environment(threads: int) -> None:
    """Sets what vLLM reads from the environment when it is first imported; what a user has set is left alone."""
    defaults = {
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "VLLM_CONFIGURE_LOGGING": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(threads),
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def on_cpu() -> bool:
    """Whether this vLLM runs on the CPU."""
    from vllm.platforms import current_platform

    return bool(current_platform.is_cpu())


def head_sizes() -> list[int]:
    """Head sizes that vLLM's CPU attention knows."""
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    return list(CPUAttentionBackend.get_supported_head_sizes())


def llm_arguments(
    model: Path, hardware: SizedHardware, precision: str, context: int, colocated: bool
) -> dict[str, Any]:
    """Arguments of `vllm.LLM`.

    Args:
        model: folder with the configuration and weights to start from.
        hardware: the params' hardware block; nulls are chosen here.
        precision: float32 or bfloat16.
        context: longest sequence, tokens.
        colocated: whether a trainer shares the device, so that memory must be given back during updates.
    """
    arguments: dict[str, Any] = {
        "model": str(model),
        "skip_tokenizer_init": True,
        "dtype": precision,
        "max_model_len": context,
        "enable_prefix_caching": True,
        "logprobs_mode": "raw_logprobs",
        "worker_extension_cls": WEIGHT_UPDATE_WORKER,
        "seed": 0,
        "disable_log_stats": True,
        "max_num_seqs": hardware.generation_batch,
        "max_num_batched_tokens": max(hardware.token_budget, hardware.generation_batch, context),
    }
    if on_cpu():
        memory = min(CPU_CACHE_BYTES, int(psutil.virtual_memory().total * CPU_CACHE_FRACTION))
        cpu = {"kv_cache_memory_bytes": memory, "enforce_eager": True, "logits_processors": [COUNTER_SAMPLER]}
        return arguments | cpu | {"tensor_parallel_size": hardware.vllm.tensor_parallel or 1}
    if colocated:
        # The trainer's devices are the visible ones; where several processes share an engine, the group says how many.
        fraction = hardware.vllm.memory_share or 0.45
        # What sleeps gives back its CUDA graphs and NCCL's buffers too, several GiB of a device.
        sharing = {"enable_sleep_mode": True, "sleep_mode_offload_cudagraph": True, "enable_nccl_comm_suspend": True}
        parallel = {"tensor_parallel_size": hardware.vllm.tensor_parallel or 1, "gpu_memory_utilization": fraction}
        return arguments | sharing | parallel
    fraction = hardware.vllm.memory_share or 0.9
    devices = hardware.vllm.tensor_parallel or _visible_gpus()
    return arguments | {"gpu_memory_utilization": fraction, "tensor_parallel_size": devices}


def _visible_gpus() -> int:
    import torch

    return max(1, torch.cuda.device_count())
