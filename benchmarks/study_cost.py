"""What a whole study costs on this machine: wall seconds by stage, peak memory, share of orchestration.

    python benchmarks/study_cost.py [--params params.yaml]      (in a clone without finished stages)

Runs `make study` and watches it. Memory is the proportional set size of the whole process tree, sampled every two
seconds, and so is how busy the machine's cores are. Orchestration is everything that is not a stage's own work: the
total minus prepare, fit and report, the pretraining workers', the training rows' and the evaluations' seconds spread
evenly over the worker slots.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import threading
import time
from pathlib import Path

import psutil

from tasks.records.metrics import read_metrics
from tasks.study.grid import expand_grid
from tasks.study.params import load_params
from tasks.study.paths import StudyPaths

ROOT = Path(__file__).parents[1]


def tree_memory(process: psutil.Process) -> float:
    """Proportional set size of a process and all below it, GiB."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total / 2**30


def main() -> None:
    """Runs the study and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", default="params.yaml")
    given = parser.parse_args()
    start, peak, stages = time.perf_counter(), 0.0, {}
    load: list[tuple[float, float]] = []
    psutil.cpu_percent()
    process = subprocess.Popen(
        ["make", "study", f"PARAMS={given.params}"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    done = threading.Event()

    def sample() -> None:
        nonlocal peak
        watched = psutil.Process(process.pid)
        while not done.wait(2.0):
            load.append((time.perf_counter() - start, psutil.cpu_percent() / 100))
            if watched.is_running():
                peak = max(peak, tree_memory(watched))

    threading.Thread(target=sample, daemon=True).start()
    assert process.stdout is not None
    for line in process.stdout:
        print(line, end="", flush=True)
        if line.startswith("Running stage '"):
            stages[line.split("'")[1]] = time.perf_counter() - start
    status = process.wait()
    done.set()
    total = time.perf_counter() - start
    if status:
        raise SystemExit(f"make study ended with status {status}")
    starts = [*stages.items(), ("end", total)]
    spent = {name: after - begin for (name, begin), (_, after) in itertools.pairwise(starts)}
    params = load_params(ROOT / given.params)
    slots = params.hardware.workers or os.cpu_count() or 1
    layout = StudyPaths.of(params)
    rows = [row for run in expand_grid(params) for row in read_metrics(layout.metrics(run))]
    trained = sum(sum(row.seconds.values()) for row in rows) / slots
    print(f"\n{'stage':<10} {'wall s':>8} {'cores busy':>11}")
    for (name, seconds), (begin, end) in zip(spent.items(), itertools.pairwise(at for _, at in starts), strict=True):
        shares = [share for at, share in load if begin <= at < end]
        busy = f"{100 * sum(shares) / len(shares):9.0f} %" if shares else f"{'-':>11}"
        print(f"{name:<10} {seconds:8.1f} {busy}")
    print(f"{'total':<10} {total:8.1f}   peak memory {peak:.2f} GiB")
    print(
        f"training rows' own seconds / {slots} slots: {trained:.1f}; the train stage took {spent.get('train', 0):.1f}"
    )
    idle = spent.get("train", 0.0) - trained + stages.get("prepare", 0.0)
    print(
        f"start-up, launching, tracking and waiting around training: {idle:.1f} s = {100 * idle / total:.1f} % of all"
    )


if __name__ == "__main__":
    main()
