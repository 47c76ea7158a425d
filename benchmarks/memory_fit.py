"""Memory of an update at every size of a study, estimated and measured on fake tensors; needs no GPU.

    python benchmarks/memory_fit.py [--params params.paper.yaml] [SIZE ...]

Each size in a process of its own: the project's sharding, policy, reference, packed batches and updates over a process
group that moves nothing (`tasks.train.fake_update`), one process standing for all. GiB on each GPU. Asleep: what vLLM
keeps during an update; in update: measured + asleep; in rollouts: resident without gradients + asleep + vLLM's share;
fits: both stay within the part of the card that may be filled.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from tasks.study.params import load_params

COLUMNS = (
    "size", "GPUs", "rows", "recomputed", "TP", "share", "resident", "measured", "estimate", "ratio", "asleep",
    "in update", "in rollouts", "usable", "fits", "s",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=Path(__file__).parents[1] / "params.paper.yaml")
    parser.add_argument("sizes", nargs="*", metavar="SIZE")
    given = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    for size in given.sizes or load_params(given.params).grid.sizes:
        start = time.perf_counter()
        command = [str(Path(sys.executable).with_name("rlscale")), "train", "--params", str(given.params), "--json"]
        answer = subprocess.run([*command, "--fit-check", size], capture_output=True, text=True, check=False)
        if answer.returncode:
            raise SystemExit(answer.stderr)
        found = json.loads(answer.stdout)
        hardware = found["hardware"]
        held = found["resident"] + found["sleeping"] + found["engine"]
        values = [
            size, found["gpus"], hardware["token_budget"], "yes" if hardware["gradient_checkpointing"] else "no",
            hardware["vllm"]["tensor_parallel"], hardware["vllm"]["memory_share"], found["resident"], found["peak"],
            found["estimated"], found["ratio"], found["sleeping"], found["peak"] + found["sleeping"], held,
            found["usable"], "yes" if found["fits"] else "NO", time.perf_counter() - start,
        ]  # fmt: skip
        cells = [f"{value:.2f}" if isinstance(value, float) else str(value) for value in values]
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
