"""The first hour on a GPU: everything that a CPU cannot say about the trainer, by one command.

    python benchmarks/first_gpu_hour.py [--small] [PART ...]

Parts, in this order; what needs no vLLM comes first. Each runs in a process of its own, and one that fails is named and
does not stop the others.

    flash    variable-length flash attention against padded blocks: log-probabilities and gradients of one batch
    memory   peak of an update with as many rows as the estimate allows, against the estimate and the whole card
    ipc      `weight_sync.py --other-process`: weights of 0.5B and 3B to another process on the GPU, by CUDA IPC
    mfu      `train_gpu.py` at the layer shapes of 0.5B, 3B and 7B: MFU and tokens per second against TRL
    sleep    a vLLM engine beside the trainer: sleep, an update at the estimate's edge, weights back and wake, seconds
             of each, and what the sleeping engine keeps; then it samples again
    two      the same run on one device and on two (FSDP2; DDP on a CPU), first by the transformers engine, then with
             one vLLM engine over both: largest relative difference of losses and gradient norms

`kill_ranks.py` kills processes. `--small`: narrow models, so that a CPU shows that every part runs; its figures mean
nothing. Prints rows for `RESULTS.md`.
"""

from __future__ import annotations

import argparse
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from packing import draw_groups, micro_batches
from train_gpu import choose_rows, make_updater, shape_of, write_checkpoint

from tasks.costs.hardware_choice import choose_hardware
from tasks.costs.memory import GIB, Devices, estimate
from tasks.costs.model_shape import ModelShape
from tasks.policy.attention import supports_varlen
from tasks.policy.packing import PromptGroup, pack
from tasks.sampling.engines import open_engine
from tasks.sampling.protocol import Request, SamplingSettings
from tasks.study.params import SizedHardware, load_params
from tasks.train.fake_update import fullest_groups
from tasks.train.launch import RunLauncher
from tasks.train.parallel import build_policy, init_parallel, iter_full_state_dict
from tasks.train.update import PolicyUpdater

ROOT = Path(__file__).parents[1]
PAPER = load_params(ROOT / "params.paper.yaml")
ON_GPU = torch.cuda.is_available()
Row = dict[str, object]


def flash(small: bool) -> Iterator[Row]:
    """One batch by the kernel and by blocks; on a CPU by blocks with and without a shared prompt."""
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), shape_of("0.5B", small))
        parallel = init_parallel("bfloat16")
        policy, device = build_policy(parallel, Path(folder)), parallel.accelerator.device
    config = policy.model.config
    kernel = supports_varlen(device, "bfloat16", config.hidden_size // config.num_attention_heads)
    groups = [
        PromptGroup(tuple(range(1, 30 + n)), tuple(tuple(range(2, 90 + 37 * m)) for m in range(5))) for n in range(4)
    ]
    other = pack(groups, varlen=True) if kernel else pack(groups, share_prefix=False)
    found = []
    for packed in (pack(groups), other):
        policy.zero_grad()
        logp = policy(packed.to(device))
        logp.mean().backward()
        grads = [p.grad.full_tensor().flatten() for p in policy.parameters() if p.grad is not None]
        found.append((logp.detach(), torch.cat(grads)))
    (logp, grad), (logp_other, grad_other) = found
    yield {
        "against padded blocks": "flash attention" if kernel else "blocks, prompts repeated",
        "largest log-prob difference": f"{float((logp - logp_other).abs().max()):.1e}",
        "cosine of gradients": f"{float(torch.nn.functional.cosine_similarity(grad, grad_other, dim=0)):.6f}",
    }


def memory(small: bool) -> Iterator[Row]:
    """Updates at the edge of what the estimate allows."""
    for size in ("0.5B", "3B", "7B"):
        shape = shape_of(size, small)
        hardware = choose_rows(shape, 512 if small else None)
        needed = estimate(PAPER, hardware, ModelShape.from_config(shape), Devices(1, 1, True, _capacity()))
        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(Path(folder), shape)
            updater = make_updater(Path(folder), hardware.gradient_checkpointing)
        seconds = _fullest_update(updater, hardware, small)
        yield {
            "shape": f"{size}, {shape['num_hidden_layers']} layers",
            "rows": hardware.token_budget,
            "recomputed": hardware.gradient_checkpointing,
            "estimate GiB": f"{needed.trainer / GIB:.1f}",
            "peak GiB": f"{_peak():.1f}",
            "reserved GiB": f"{torch.cuda.max_memory_reserved() / GIB if ON_GPU else 0.0:.1f}",
            "card GiB": f"{_capacity() / GIB:.1f}",
            "s": f"{seconds:.2f}",
        }
        del updater
        _empty()


def sleep(small: bool) -> Iterator[Row]:
    """An engine and an update take turns on one device."""
    shape = shape_of("0.5B", small)
    devices = Devices(1, 1, True, _capacity(), ON_GPU)
    hardware = choose_hardware(PAPER, "0.5B", ModelShape.from_config(shape), devices)
    if small:
        hardware = hardware.model_copy(update={"token_budget": 512, "generation_batch": 16})
    longest = 64 if small else 2048
    requests = [Request(f"p{n}", tuple(range(2, 18 + n))) for n in range(2 if small else 64)]
    settings = SamplingSettings(n=2 if small else 8, temperature=1.0, top_p=1.0, max_tokens=longest // 2, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), shape)
        updater = make_updater(Path(folder), hardware.gradient_checkpointing)
        engine = open_engine("vllm", Path(folder), hardware, "bfloat16", longest, colocated=True)
        try:
            sampling = _seconds(lambda: engine.generate(requests, settings))
            asleep = _seconds(engine.release)
            kept = (_used() - torch.cuda.memory_reserved()) / GIB if ON_GPU else 0.0
            update = _fullest_update(updater, hardware, small)
            updater.optimizer.zero_grad(set_to_none=True)
            _empty()
            policy: Any = updater.policy
            back = _seconds(lambda: engine.update(iter_full_state_dict(policy, "bfloat16")))
            again = _seconds(lambda: engine.generate(requests, settings))
        finally:
            engine.close()
    yield {
        "share": hardware.vllm.memory_share,
        "rows": hardware.token_budget,
        "sampling s": f"{sampling:.1f}",
        "sleep s": f"{asleep:.2f}",
        "kept asleep and contexts GiB": f"{kept:.2f}",
        "update s": f"{update:.2f}",
        "peak GiB": f"{_peak():.1f}",
        "weights and wake s": f"{back:.2f}",
        "sampling again s": f"{again:.1f}",
    }


def two(small: bool) -> Iterator[Row]:
    """A small run on one device and on two."""
    sys.path.insert(0, str(ROOT / "tests"))
    from support.studies import numbers, study_to_train

    if ON_GPU and torch.cuda.device_count() < 2:
        yield {"two devices": "not run: one GPU here"}
        return
    for engine in ("transformers",) if small else ("transformers", "vllm"):
        rows, seconds = [], []
        for count in (1, 2):
            with tempfile.TemporaryDirectory() as folder:
                chosen = {"gpus_per_run": {"3k": count}, "vllm": {"tensor_parallel": count, "memory_share": 0.3}}
                params, run = study_to_train(Path(folder), hardware=chosen, train={"engine": engine})
                if engine == "vllm":
                    write_checkpoint(
                        Path(folder) / "data" / "pretrain" / run.model, shape_of("0.5B") | {"vocab_size": 64}
                    )
                with RunLauncher(params) as launcher:
                    seconds.append(_seconds(lambda launcher=launcher, run=run: launcher.train(run, "first hour")))
                rows.append(numbers(params, run))
        pairs = _both(*rows)
        yield {
            "engine": engine,
            "one device s": f"{seconds[0]:.0f}",
            "two s": f"{seconds[1]:.0f}",
            "updates": len(pairs) // 2,
            "largest relative difference": f"{max(abs(a - b) / max(abs(a), 1e-6) for a, b in pairs):.1e}",
        }


def _both(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """Losses and norms of two runs, step by step; a step whose groups carry no signal has neither.

    Raises:
        ValueError: only one of the runs has updated at a step, or none at any.
    """
    pairs = [(a[key], b[key]) for a, b in zip(one, other, strict=True) for key in ("loss", "grad_norm")]
    if any((a is None) != (b is None) for a, b in pairs):
        raise ValueError(f"the runs on one device and on two update at different steps: {pairs}")
    found = [(a, b) for a, b in pairs if a is not None]
    if not found:
        raise ValueError("no step of the run on one device updates the weights")
    return found


PARTS: dict[str, Callable[[bool], Iterator[Row]]] = {"flash": flash, "memory": memory, "sleep": sleep, "two": two}
ORDER = ("flash", "memory", "ipc", "mfu", "sleep", "two")


def _fullest_update(updater: PolicyUpdater, hardware: SizedHardware, small: bool) -> float:
    """Seconds of the second of two updates on a micro-batch that fills the token budget."""
    device = updater.parallel.accelerator.device
    budget = hardware.token_budget
    groups = draw_groups(2, 2, 8.0, 32, 20, seed=0) if small else fullest_groups(PAPER, budget)
    micros = micro_batches(groups, budget, device, ON_GPU)
    return [_seconds(lambda: updater.step([micros], 1, "first hour")) for _ in range(2)][1]


def _seconds(work: Callable[[], object]) -> float:
    """Seconds of a piece of work, the device's included."""
    start = time.perf_counter()
    work()
    if ON_GPU:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _capacity() -> float:
    return float(torch.cuda.get_device_properties(0).total_memory) if ON_GPU else 8 * GIB


def _used() -> float:
    free, total = torch.cuda.mem_get_info()
    return float(total - free)


def _peak() -> float:
    return torch.cuda.max_memory_allocated() / GIB if ON_GPU else 0.0


def _empty() -> None:
    """Gives the allocator's memory back."""
    gc.collect()
    if ON_GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--here", action="store_true", help="run one part in this process")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(ORDER))
    given = parser.parse_args()
    if not ON_GPU and not given.small:
        raise SystemExit("first_gpu_hour.py: no GPU here; --small shows on a CPU that every part runs")
    if given.here:
        for index, row in enumerate(PARTS[given.parts[0]](given.small)):
            if index == 0:
                print("\n| " + " | ".join(row) + " |\n|" + "---|" * len(row))
            print("| " + " | ".join(map(str, row.values())) + " |", flush=True)
        return
    small, failed = ["--small"] if given.small else [], []
    print(
        f"{torch.cuda.get_device_name() if ON_GPU else 'CPU, small: figures mean nothing'}, torch {torch.__version__}"
    )
    for part in given.parts or ORDER:
        commands = [[__file__, "--here", part]]
        if part == "mfu":
            commands = [[str(ROOT / "benchmarks/train_gpu.py"), "--shape", size] for size in ("0.5B", "3B", "7B")]
        elif part == "ipc":
            sizes = ("200",) if given.small else ("494", "3086")
            module = ["-m", "benchmarks.weight_sync", "--other-process", "--parameters"]
            commands = [[*module, size] for size in sizes]
        for command in commands:
            if subprocess.run([sys.executable, *command, *([] if part == "ipc" else small)], check=False).returncode:
                failed.append(part)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
