"""What it costs to hand a policy's weights to vLLM's workers, without vLLM: sums, packing, the hand-over itself.

    python -m benchmarks.weight_sync [--parameters MILLIONS] [--workers N] [--other-process]

Two tables. Nanoseconds per weight of the sum that each side takes of every tensor: over 64-bit words, as
`policy_model.tensor_checksum` does, against the sum over single weights that it replaced. Seconds per hand-over of
Qwen2.5-0.5B-shaped bfloat16 weights, from the trainer's tensors to copies that N workers hold and have summed: in
buckets through shared memory (`vllm.buckets`), against the staged file that each worker reads whole, with the old sums.
The workers stand in one process and load nothing into a model. `--other-process` prints instead the seconds of the
hand-over to one worker in a process of its own on the same device, by CUDA IPC where there is a GPU: opened, copied out
and summed there, sums compared.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tasks.policy.policy_model import tensor_checksum
from tasks.sampling.vllm.buckets import Alone, BucketSender
from tasks.sampling.vllm.device_buffer import Entry, Handles, aligned, device_key, open_buffer, unpack
from tasks.sampling.vllm.device_memory import free_cached_memory
from tasks.sampling.vllm.staging import Checksums, WeightLayout
from tasks.sampling.vllm.weights import make_staging_dir, stored_tensors, write_staging_dir

HIDDEN, FFN, KV, LAYER_WEIGHTS = 896, 4864, 128, 14_912_384
VOCABULARY = 151_936


def sum_of_weights(tensor: torch.Tensor) -> list[int]:
    """The sum before: over single weights, with two 64-bit copies of the tensor."""
    bits = tensor.view(torch.int32 if tensor.element_size() == 4 else torch.int16).flatten().to(torch.int64)
    return torch.stack((bits.sum(), (bits * torch.arange(1, bits.numel() + 1)).sum())).tolist()


def seconds(call: Callable[[], object], repeats: int = 3) -> float:
    """The shortest of some calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


class Workers:
    """Workers that copy what they are given and sum it; see `vllm.buckets.BucketTarget`."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._buffer = torch.empty(0)

    def open_buffers(self, handles: Handles) -> None:
        """Opens the one buffer."""
        (key,) = handles
        self._buffer = open_buffer(handles, key, torch.device("cpu"))

    def load_bucket(self, entries: list[Entry]) -> list[Checksums]:
        """Copies a bucket out, once per worker."""
        return [
            {name: tensor_checksum(view.clone()) for name, view in unpack(self._buffer, entries)}
            for _ in range(self._number)
        ]

    def close_buffers(self) -> None:
        """Lets go of it."""
        self._buffer = torch.empty(0)


class OtherProcess:
    """One worker in a process of its own, on a device of the same machine; see `vllm.buckets.BucketTarget`."""

    def __init__(self, device: torch.device) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, device))
        self._process.start()
        theirs.close()

    def open_buffers(self, handles: Handles) -> None:
        """It opens the buffer of its device."""
        self._ask("open", handles)

    def load_bucket(self, entries: list[Entry]) -> list[Checksums]:
        """It copies a bucket out."""
        return [self._ask("load", entries)]

    def close_buffers(self) -> None:
        """It lets go of the buffer."""
        self._ask("close", None)

    def end(self) -> None:
        """Ends the process."""
        self._process.terminate()
        self._process.join()

    def _ask(self, what: str, value: Any) -> Any:
        self._pipe.send((what, value))
        if not self._pipe.poll(60.0):
            raise TimeoutError(f"the other process has not answered {what!r} for a minute")
        return self._pipe.recv()


def _work(pipe: Any, device: torch.device) -> None:
    """What the other process does."""
    buffer = torch.empty(0)
    held: dict[str, torch.Tensor] = {}
    while True:
        what, value = pipe.recv()
        answer = None
        if what == "open":
            buffer = open_buffer(value, device_key(device, 0), device)
        elif what == "load":
            for name, view in unpack(buffer, value):
                held[name] = view.clone()
            answer = {name: tensor_checksum(held[name]) for name, _, _ in value}
        elif what == "close":
            buffer, held = torch.empty(0), {}
            free_cached_memory()
        pipe.send(answer)


def to_other_process(parameters: float) -> tuple[float, float]:
    """Seconds of a hand-over to another process on the first GPU, or here, and GiB of the weights."""
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    with torch.device(device):
        weights = model_weights(parameters)
    sizes = [aligned(tensor.numel() * tensor.element_size()) for tensor in weights.values()]
    sender = BucketSender(WeightLayout("bfloat16", False, None, max(sizes), sum(sizes)), device, Alone())
    worker = OtherProcess(device)
    try:
        return seconds(lambda: sender.send(weights.items(), worker)), sum(sizes) / 2**30
    finally:
        worker.end()


def by_file(weights: Mapping[str, torch.Tensor], stage: Path, workers: int) -> None:
    """The hand-over before: one file, summed by the sender twice and by every worker."""
    write_staging_dir(stage, weights)
    sent = {name: sum_of_weights(tensor) for name, tensor in weights.items()}
    for _ in range(workers):
        assert {name: sum_of_weights(tensor) for name, tensor in stored_tensors(stage)} == sent
    for tensor in weights.values():
        sum_of_weights(tensor)  # the fingerprint


def model_weights(parameters: float) -> dict[str, torch.Tensor]:
    """Random bfloat16 weights: the embedding and as many layers of Qwen2.5-0.5B as the number asks for."""
    layers = max(1, round((parameters - VOCABULARY * HIDDEN) / LAYER_WEIGHTS))
    shapes = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for layer in range(layers):
        for name, shape in {
            "self_attn.q_proj": (HIDDEN, HIDDEN),
            "self_attn.k_proj": (KV, HIDDEN),
            "self_attn.v_proj": (KV, HIDDEN),
            "self_attn.o_proj": (HIDDEN, HIDDEN),
            "mlp.gate_proj": (FFN, HIDDEN),
            "mlp.up_proj": (FFN, HIDDEN),
            "mlp.down_proj": (HIDDEN, FFN),
        }.items():
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
    return {name: torch.randn(shape).bfloat16() for name, shape in shapes.items()}


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=float, default=494.0, help="of the model, millions")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--other-process", action="store_true")
    options = parser.parse_args()
    if options.other_process:
        passed, size = to_other_process(options.parameters * 1e6)
        print(f"{size:.2f} GiB to another process: {passed:.2f} s, {size / passed:.1f} GiB/s")
        return
    torch.set_num_threads(1)
    print("sum of a tensor, one thread   before ns/weight   now ns/weight   ratio")
    for dtype in (torch.float32, torch.bfloat16):
        tensor = torch.randn(1 << 25).to(dtype)
        calls = (partial(sum_of_weights, tensor), partial(tensor_checksum, tensor))
        before, now = (seconds(call) / tensor.numel() * 1e9 for call in calls)
        print(f"{dtype!s:<28} {before:17.2f} {now:15.2f} {before / now:7.0f}")
    weights = model_weights(options.parameters * 1e6)
    sizes = [aligned(tensor.numel() * tensor.element_size()) for tensor in weights.values()]
    layout = WeightLayout("bfloat16", False, None, max(sizes), sum(sizes))
    sender = BucketSender(layout, torch.device("cpu"), Alone())
    stage = make_staging_dir()
    before = seconds(lambda: by_file(weights, stage, options.workers), 1)
    (stage / "model.safetensors").unlink()
    stage.rmdir()
    now = seconds(lambda: sender.send(weights.items(), Workers(options.workers)), 2)
    count = sum(tensor.numel() for tensor in weights.values())
    print(f"\nhand-over of {count / 1e6:.0f} M weights to {options.workers} workers, one core")
    print(f"staged file, old sums {before:7.2f} s\nbuckets, sums of words {now:6.2f} s\nratio {before / now:.0f}")


if __name__ == "__main__":
    main()
