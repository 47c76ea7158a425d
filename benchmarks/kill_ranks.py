"""Kills ranks of running trainings at random moments, and compares every end with that of a run that was left alone.

    python -m benchmarks.kill_ranks [--kills 20] [--seed 0]

The run is 24 steps of the miniature's smallest model, sharded over two processes (FSDP2, gloo), with a checkpoint after
every second step. Each repetition trains it into a folder of its own; rank 0 and rank 1 in turn get SIGKILL at a moment
drawn between the first row and the time the unbroken run took, so also while a checkpoint is written. The launcher
alone brings the run to its end. Equal means: the content digest of the manifest (all rows without seconds, all weights)
and every file of `final/`.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from tasks.prepare.prepare import prepare
from tasks.pretrain.steps import collect
from tasks.pretrain.tiny import train_tiny_model
from tasks.study.grid import Run, expand_grid
from tasks.study.manifests import verify
from tasks.study.params import Params, load_params
from tasks.study.paths import StudyPaths
from tasks.study.status import model_names
from tasks.train.launch import RunLauncher, train_once
from tasks.train.placement import CONFIGS

ROOT = Path(__file__).resolve().parents[1]
STEPS = 24
RANKS = 2


def make_study(root: Path) -> Params:
    """One short run of the small study, sharded, under a data root."""
    params = load_params(ROOT / "params.small.yaml")
    axes = {"sizes": ("3k",), "variants": ("base",), "seeds": (0,), "reuse": None, "group_size": None}
    sharded = {"gpus_per_run": {"3k": RANKS}, "accelerate_config": str(CONFIGS / "fsdp2_one_node.yaml"), "workers": 1}
    return params.model_copy(
        update={
            "study": params.study.model_copy(update={"data_root": str(root)}),
            "grid": params.grid.model_copy(update=axes),
            "train": params.train.model_copy(update={"steps": STEPS}),
            "hardware": params.hardware.model_copy(update=sharded),
            "checkpoints": params.checkpoints.model_copy(update={"every": 2, "keep_last": 1}),
        }
    )


def train(params: Params, run: Run, launcher: RunLauncher) -> tuple[str, dict[str, bytes]]:
    """Trains the run to its end; returns its content digest and the files of the final policy."""
    launcher.params = params
    manifest = train_once(params, run, launcher)
    folder, final = StudyPaths.of(params).run(run), StudyPaths.of(params).final(run)
    assert verify(folder) == [], "the folder differs from its manifest"
    assert not (folder / "checkpoints").exists(), "checkpoints are left"
    return str(manifest["content"]), {path.name: path.read_bytes() for path in final.iterdir()}


def kill_rank(rank: int, metrics: Path, delay: float, ended: threading.Event, killed: list[float]) -> None:
    """Kills a rank so many seconds after the run's first row; appends that time, unless the run ended before."""
    while not (metrics.exists() and metrics.stat().st_size):
        if ended.wait(0.005):
            return
    if ended.wait(delay):
        return
    for process in psutil.Process().children(recursive=True):
        if "tasks.runtime.workers" in process.cmdline() and process.environ().get("RANK") == str(rank):
            os.kill(process.pid, signal.SIGKILL)
            killed.append(delay)


def main() -> None:
    """Runs the kills and prints how many ended equal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(ROOT)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        source = make_study(Path(name, "source"))
        run = expand_grid(source)[0]
        prepare(source)
        for model in model_names(source):
            train_tiny_model(source, model)
        collect(source)
        with RunLauncher(source) as launcher:
            whole = train(source, run, launcher)
            start = time.monotonic()
            shutil.rmtree(StudyPaths.of(source).run(run))
            assert train(source, run, launcher) == whole, "two unbroken runs differ"
            seconds = time.monotonic() - start
            equal, done = 0, 0
            while done < options.kills:
                params = make_study(Path(name, f"broken-{done}"))
                for stage in ("prepare", "pretrain"):
                    shutil.copytree(StudyPaths.of(source).stage(stage), StudyPaths.of(params).stage(stage))
                ended, killed = threading.Event(), list[float]()
                metrics, delay = StudyPaths.of(params).metrics(run), draw.uniform(0.0, seconds)
                killer = threading.Thread(target=kill_rank, args=(done % RANKS, metrics, delay, ended, killed))
                killer.start()
                same = train(params, run, launcher) == whole
                ended.set()
                killer.join()
                shutil.rmtree(params.root)
                if not killed:
                    continue  # it came too late; not counted
                verdict = "equal" if same else "DIFFERENT"
                print(f"rank {done % RANKS} killed after {delay:5.2f} s: {verdict}", flush=True)
                done, equal = done + 1, equal + same
        left = psutil.wait_procs(psutil.Process().children(recursive=True), timeout=20)[1]
        print(f"{done} kills, {equal} equal; {len(left)} processes left")
        sys.exit(0 if equal == done and not left else 1)


if __name__ == "__main__":
    main()
