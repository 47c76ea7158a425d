"""Jobs that tests give to worker processes."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any


def fail_on_rank(rank: int, message: str) -> str:
    """Raises on one rank; the others wait for what never comes."""
    if os.environ.get("RANK", "0") == str(rank):
        raise RuntimeError(message)
    time.sleep(600)
    return "never"


def report(folder: str, seconds: float = 0.0) -> dict[str, str]:
    """Leaves this process's id in a folder, waits, and returns what the launcher told it."""
    rank = os.environ.get("RANK", "0")
    Path(folder, f"rank-{rank}.pid").write_text(str(os.getpid()))
    time.sleep(seconds)
    names = ("RANK", "WORLD_SIZE", "MASTER_PORT", "CUDA_VISIBLE_DEVICES", "ACCELERATE_USE_FSDP")
    return {name: os.environ.get(name, "") for name in names} | {"pid": str(os.getpid())}


def bounded_memory(params: str, run: dict[str, Any], fingerprint: str) -> dict[str, Any]:
    """Stands for training: leaves its token budget in a file, and has no memory for more than 40 tokens."""
    import torch

    study = json.loads(params)
    budget = study["hardware"]["token_budget"]
    with Path(study["study"]["data_root"], "budgets.txt").open("a") as file:
        file.write(f"{budget}\n")
    if budget > 40:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    return {"budget": budget, "run": run["run_id"], "fingerprint": fingerprint}


def train_with_faults(params: str, run: dict[str, Any], fingerprint: str) -> dict[str, Any]:
    """Trains; at the end of a step, where its processes wait for one another, the faults of `faults.json` happen.

    Each of them, `{"rank": 1, "step": 2, "kind": "kill"}`, happens once in the life of the run's folder. Kinds: kill
    (SIGKILL), raise (as NCCL does when a peer is gone), hang, stop (SIGUSR1, as a scheduler sends).
    """
    from tasks.train.loop import train_job
    from tasks.train.parallel import ParallelContext

    root = Path(json.loads(params)["study"]["data_root"])
    metrics, plan = root / "train" / run["run_id"] / "metrics.jsonl", json.loads((root / "faults.json").read_text())
    rank, together = int(os.environ.get("RANK", "0")), ParallelContext.any_process

    def any_process(self: ParallelContext, condition: bool) -> bool:
        self.barrier()  # rank 0 has written its row
        step = metrics.read_text().count("\n") - 1
        for number, fault in enumerate(plan):
            mark = root / f"fault-{number}"
            if fault["rank"] == rank and fault["step"] == step and not mark.exists():
                mark.touch()
                _happen(fault["kind"])
        return together(self, condition)

    ParallelContext.any_process = any_process  # type: ignore[method-assign]
    try:
        return train_job(params, run, fingerprint)
    finally:
        ParallelContext.any_process = together  # type: ignore[method-assign]


def _happen(kind: str) -> None:
    import signal

    import torch

    if kind == "raise":
        raise torch.distributed.DistBackendError("NCCL error: remote process exited or there was a network error")
    if kind == "hang":
        time.sleep(600)
    os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGUSR1}[kind])


def raise_lost(seconds: float = 0.0) -> None:
    """Rank 1 ends without a word, somewhat after rank 0 has raised what looks like a defect."""
    if os.environ.get("RANK", "0") == "0":
        raise ValueError("a consequence of what happens on rank 1")
    time.sleep(seconds)
    os._exit(9)


def execute(code: str) -> None:
    """Runs some lines."""
    exec(code)


def raise_named(name: str) -> None:
    """Raises a built-in exception."""
    import builtins

    raise getattr(builtins, name)(f"a {name}")


def draw_in_groups(checkpoint: str, prompts: list[list[int]]) -> list[Any]:
    """Two processes draw every second prompt each, through one engine; returns [fingerprints, completions by rank]."""
    from safetensors.torch import load_file

    from tasks.sampling.protocol import Request, SamplingSettings
    from tasks.sampling.transformers_engine import TransformersEngine
    from tasks.train.parallel import init_parallel
    from tasks.train.run_engine import SharedEngine

    parallel = init_parallel("float32")
    opened: list[int] = []

    def open_here(first: int) -> TransformersEngine:
        opened.append(first)
        return TransformersEngine(Path(checkpoint))

    engine = SharedEngine(parallel, 2, open_here)
    weights = load_file(Path(checkpoint) / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
    prints = [engine.fingerprint(), engine.update((name, 2 * tensor) for name, tensor in weights.items())]
    prints.append(engine.update(iter(weights.items())))
    mine = [Request(f"p{n}", tuple(prompt)) for n, prompt in enumerate(prompts) if n % 2 == parallel.rank]
    drawn = engine.generate(mine, SamplingSettings(n=2, temperature=1.0, top_p=1.0, max_tokens=6, seed=5, step=3))
    engine.release()
    tokens = [[list(completion.tokens) for completion in row] for row in drawn]
    return [prints, parallel.all_gather_object(tokens), parallel.all_gather_object(opened)]


def update_sharded(checkpoint: str) -> list[Any]:
    """Updates a checkpoint once, sharded over the processes there are; returns [mode, norm, whole weights]."""
    import torch

    from tasks.policy.packing import PromptGroup, pack
    from tasks.train.parallel import build_policy, init_parallel, iter_full_state_dict

    parallel = init_parallel("float32")
    policy = build_policy(parallel, Path(checkpoint))
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2, fused=True)
    packed = pack([PromptGroup((1, 2, 3), ((4, 5, 6), (7, 8))), PromptGroup((9, 2), ((3, 3, 3, 1),))])
    with torch.no_grad():
        policy(packed)  # a pass without gradients first: it leaves parameters gathered
    for _ in range(2):  # two micro-batches
        with parallel.grad_sync(policy, last=False):
            parallel.accelerator.backward(policy(packed).sum() * parallel.world_size)
    norm = parallel.clip_grad_norm(policy, 1.0)
    optimizer.step()
    return [parallel.mode, norm, {name: tensor.tolist() for name, tensor in iter_full_state_dict(policy, "float32")}]


def lose_engine_once(params: str, run: dict[str, Any], fingerprint: str) -> dict[str, Any]:
    """Trains, but the first time kills vLLM's processes after the first checkpoint; notes their ids in the run."""
    import signal
    import threading

    import psutil

    from tasks.train.loop import train_job

    folder = Path(json.loads(params)["study"]["data_root"], "train", run["run_id"])

    def watch() -> None:
        while not (folder / "checkpoints" / "step-000001" / "manifest.json").exists():
            time.sleep(0.001)
        children = psutil.Process().children(recursive=True)
        engine = [child.pid for child in children if "VLLM::" in " ".join(child.cmdline())]
        (folder / "lost.json").write_text(json.dumps(engine))
        for pid in engine:
            os.kill(pid, signal.SIGKILL)

    if os.environ.get("RANK", "0") == "0" and not (folder / "lost.json").exists():
        threading.Thread(target=watch, daemon=True).start()
    return train_job(params, run, fingerprint)
