"""Weights from the trainer's processes to vLLM's workers in buckets, without vLLM: who opens what, and when.

The processes of a group are threads here; the workers stand in, each reading the
buffer of its own device as vLLM's would. The transfer to real workers is in `test_train_shared_vllm`.
"""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.studies import make_evaluate_params, save_random_model

from tasks.policy.policy_model import tensor_checksum, weights_digest
from tasks.sampling.vllm.buckets import BucketSender, SentWeights, TransferFailed
from tasks.sampling.vllm.device_buffer import DeviceBuffer, Entry, Handles, device_key, open_buffer, pack, unpack
from tasks.sampling.vllm.staging import HEAD, Checksums, Staging, StaleWeights, WeightLayout
from tasks.sampling.vllm.weights import SHARED_MEMORY, state_dict

CPU = torch.device("cpu")


class Workers:
    """Stands for the workers of an engine with `size` devices: each has its own buffer open and reads it slowly."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.buffers: list[torch.Tensor] = []
        self.loaded: list[dict[str, torch.Tensor]] = [{} for _ in range(size)]
        self.names: list[str] = []
        self.buckets = 0
        self.is_closed = False

    def open_buffers(self, handles: Handles) -> None:
        assert len(handles) == self.size
        self.buffers = [open_buffer(handles, device_key(CPU, rank), CPU) for rank in range(self.size)]

    def load_bucket(self, entries: list[Entry]) -> list[Checksums]:
        self.buckets += 1
        self.names += [name for name, _, _ in entries]
        sums = []
        for buffer, loaded in zip(self.buffers, self.loaded, strict=True):
            time.sleep(0.005)  # whoever filled the buffers again meanwhile would be found out
            tensors = {name: view.clone() for name, view in unpack(buffer, entries)}
            loaded |= tensors
            sums.append({name: tensor_checksum(tensor) for name, tensor in tensors.items()})
        return sums

    def close_buffers(self) -> None:
        self.buffers = []
        self.is_closed = True


class ThreadGroup:
    """One of some threads that stand for the processes of a group; a wait without an end fails after 5 seconds."""

    def __init__(self, rank: int, values: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self._values, self._barrier = rank, values, barrier

    def all_gather(self, value: Any) -> list[Any]:
        self._values[self.rank] = value
        self._barrier.wait(5)
        values = list(self._values)
        self._barrier.wait(5)
        return values

    def broadcast(self, value: Any) -> Any:
        return self.all_gather(value)[0]


def on_ranks(size: int, job: Callable[[ThreadGroup], Any]) -> list[Any]:
    """Runs a job on every rank of a group; returns the answers, or what was raised."""
    values, barrier = [None] * size, threading.Barrier(size)

    def run(rank: int) -> Any:
        try:
            return job(ThreadGroup(rank, values, barrier))
        except Exception as error:
            return error

    with ThreadPoolExecutor(size) as threads:
        return list(threads.map(run, range(size)))


def model(folder: Path, tied: bool) -> tuple[dict[str, torch.Tensor], WeightLayout]:
    """A small model's whole state dict in bfloat16, and how vLLM takes it."""
    save_random_model(make_evaluate_params(folder), "3k", 0, folder / "model")
    weights = state_dict(folder / "model", torch.bfloat16)
    staging = Staging(folder / "model", None)
    layout = staging.layout(torch.bfloat16)
    staging.remove()
    if not tied:
        weights[HEAD] = weights[HEAD] * 2
        layout = WeightLayout(layout.dtype, False, None, layout.largest, layout.total)
    return weights, layout


@pytest.mark.parametrize("size", [1, 2, 4, 8])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_every_worker_reads_all_weights_from_the_process_on_its_own_device(
    tmp_path: Path, size: int, tied: bool
) -> None:
    weights, layout = model(tmp_path, tied)
    workers = Workers(size)

    def send(group: ThreadGroup) -> SentWeights:
        sender = BucketSender(layout, CPU, group, bucket_bytes=layout.largest)
        return sender.send(late(group.rank), workers if group.rank == 0 else None)

    def late(rank: int) -> Iterator[tuple[str, torch.Tensor]]:
        for entry in weights.items():
            time.sleep(0.002 * rank)  # the last one's buffer is full long after the leader's
            yield entry

    own = f"rlscale-weights-{os.getpid()}-*"
    before = set(SHARED_MEMORY.glob(own))
    answers = on_ranks(size, send)
    assert all(isinstance(answer, SentWeights) for answer in answers), answers
    assert workers.buckets > 2
    expected = [name for name in weights if not (tied and name == HEAD)]
    assert workers.names == expected
    for loaded in workers.loaded:
        assert all(torch.equal(loaded[name], weights[name]) for name in expected)
    assert all(answer.shapes == {name: tuple(tensor.shape) for name, tensor in weights.items()} for answer in answers)
    assert answers[0].checksums == {name: tensor_checksum(weights[name]) for name in expected}
    assert all(not answer.checksums for answer in answers[1:])
    assert workers.is_closed
    assert set(SHARED_MEMORY.glob(own)) <= before


def test_a_worker_without_a_trainer_on_its_device_ends_the_update_on_every_rank(tmp_path: Path) -> None:
    weights, layout = model(tmp_path, True)

    class Elsewhere(Workers):
        def open_buffers(self, handles: Handles) -> None:
            open_buffer(handles, device_key(CPU, 7), CPU)

    def send(group: ThreadGroup) -> SentWeights:
        return BucketSender(layout, CPU, group).send(weights.items(), Elsewhere(2) if group.rank == 0 else None)

    first, second = on_ranks(2, send)
    assert isinstance(first, LookupError)
    assert "no trainer of this engine's group is on device cpu:7, only on ['cpu:0', 'cpu:1']" in str(first)
    assert isinstance(second, TransferFailed)
    assert "cpu:7" in str(second)


def test_a_worker_that_reads_something_else_is_noticed(tmp_path: Path) -> None:
    weights, layout = model(tmp_path, True)

    class Torn(Workers):
        def load_bucket(self, entries: list[Entry]) -> list[Checksums]:
            self.buffers[0][3] += 1  # memory that two processes share
            return [{name: tensor_checksum(t) for name, t in unpack(self.buffers[0].clone() + 1, entries)}]

    with pytest.raises(StaleWeights, match="read other weights than they were given"):
        BucketSender(layout, CPU).send(weights.items(), Torn(1))


@given(
    sizes=st.lists(st.tuples(st.integers(0, 40), st.sampled_from([torch.float32, torch.bfloat16])), max_size=20),
    capacity=st.integers(160, 700),
)
def test_what_is_packed_is_unpacked_bucket_by_bucket(sizes: list[tuple[int, torch.dtype]], capacity: int) -> None:
    tensors = {f"w{n}": torch.randn(size).to(dtype) for n, (size, dtype) in enumerate(sizes)}
    buffer = torch.zeros(capacity, dtype=torch.uint8)
    found = {name: view.clone() for entries in pack(tensors.items(), buffer) for name, view in unpack(buffer, entries)}
    assert list(found) == list(tensors)
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_the_padded_weights_of_a_small_model_keep_the_fingerprint_of_the_model(tmp_path: Path) -> None:
    save_random_model(make_evaluate_params(tmp_path), "7k", 0, tmp_path / "model")
    weights = state_dict(tmp_path / "model", torch.float32)
    staging = Staging(tmp_path / "model", [32, 64])
    layout = staging.layout(torch.float32)
    assert layout.padding is not None
    workers = Workers(1)
    sent = BucketSender(layout, CPU, bucket_bytes=1).send(weights.items(), workers)
    assert staging.fingerprint(sent.checksums) == weights_digest(weights)
    staging.write(weights)
    stored = state_dict(staging.folder, torch.float32)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in workers.loaded[0].items())
    assert sum(t.numel() * 4 for t in workers.loaded[0].values()) <= layout.total
    staging.remove()


def test_a_gpus_buffer_is_opened_by_its_uuid_and_under_the_workers_own_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA itself is absent: what PyTorch would be asked for is recorded."""
    from torch.multiprocessing import reductions

    asked: list[tuple[Any, ...]] = []
    properties = {3: "GPU-b", 0: "GPU-a"}
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: type("P", (), {"uuid": properties[device.index]})
    )
    monkeypatch.setattr(reductions, "rebuild_cuda_tensor", lambda *args: asked.append(args) or torch.zeros(1))
    arguments = (
        torch.Tensor,
        (8,),
        (1,),
        0,
        torch.UntypedStorage,
        torch.uint8,
        0,
        b"handle",
        8,
        0,
        False,
        b"",
        0,
        b"",
        0,
    )
    handles = {"GPU-b": pickle.dumps(arguments), "GPU-a": pickle.dumps(("another",))}
    device = torch.device("cuda", 3)
    open_buffer(handles, device_key(device, 0), device)
    assert asked == [(*arguments[:6], 3, *arguments[7:])]
    with pytest.raises(LookupError, match="is on device GPU-b, only on"):
        open_buffer({"GPU-a": b""}, device_key(device, 0), device)


def test_a_buffer_leaves_nothing_in_memory() -> None:
    buffer = DeviceBuffer(64, CPU, 0)
    folder = Path(buffer.handle.decode()).parent
    assert folder.is_dir()
    buffer.free()
    assert not folder.exists()
