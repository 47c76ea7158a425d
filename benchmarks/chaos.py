"""Kills processes of the small study at random moments, some while its disk is full; compares what it ends with.

    python -m benchmarks.chaos [--kills 100] [--full 10] [--per-study 12] [--longest 10] [--seed 0] [--executor local]

As root: each study lies on a tmpfs of its own, so that its disk can be full without anybody else's being so. One study
is left alone first. Then studies are run, `--per-study` kills in each: at a moment drawn from 0.5 to `--longest`
seconds after the last one, SIGKILL hits a process: first a kind is drawn among those that run (the command itself,
Prefect's server, launchers, trainers, graders, others), then one of its processes. Around `--full` of the kills a file
fills the disk, from 3 s before to 3 s after. The command is started again whenever it ends without having finished the
study.

Equal means: the content digests of all manifests below the stages' folders, and every file of every `final/`. A study
that differs is kept. MLflow's copies of the manifests are no part of it: they lie below random names, so that two
studies which nobody disturbs differ there. Left over is what is there 10 s after a study's end that was not before:
processes that carry its mark, files in its temporary folder, entries of /dev/shm, locks of the data root that somebody
holds.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from tasks.study.manifests import is_locked
from tasks.study.paths import STAGES

ROOT = Path(__file__).resolve().parents[1]
MARK = "RLSCALE_CHAOS"
SIZE = "400m"
"""Of a study's file system; the small study takes 30 MB."""


class ChaosStudy:
    """One study on a file system of its own."""

    def __init__(self, name: str, folder: Path, executor: str) -> None:
        """Mounts the file system. As root."""
        self.name, self.folder = name, folder
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], check=True)
        shutil.copy(ROOT / "params.small.yaml", folder / "params.yaml")
        self.temporary = folder.parent / f"{name}-tmp"
        self.temporary.mkdir()
        marks = {MARK: name, "TMPDIR": str(self.temporary), "HOME": str(folder.parent), "RLSCALE_EXECUTOR": executor}
        self.environment = os.environ | marks
        self.data = folder / "data-small"
        self.shared = set(os.listdir("/dev/shm"))
        self.starts = 0

    def start(self) -> subprocess.Popen[bytes]:
        """Starts the command."""
        self.starts += 1
        code = "import sys; sys.path.insert(0, {!r}); from flows.cli.main import main; main(sys.argv[1:])"
        command = [sys.executable, "-c", code.format(str(ROOT)), "study", "--params", str(self.folder / "params.yaml")]
        with (self.folder.parent / f"{self.name}.log").open("ab") as log:
            return subprocess.Popen(command, env=self.environment, cwd=ROOT, stdout=log, stderr=log)

    def processes(self) -> list[psutil.Process]:
        """Every live process of the study."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.name and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found

    def fill(self) -> None:
        """Takes all the space that is left."""
        with contextlib.suppress(OSError), (self.folder / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(1 << 16)):
                pass

    def empty(self) -> None:
        """Gives the space back."""
        (self.folder / "filler").unlink(missing_ok=True)

    def contents(self) -> dict[str, str]:
        """Contents of manifests and digests of final policies, by path."""
        found = {}
        for path in [path for stage in STAGES for path in (self.data / stage).rglob("manifest.json")]:
            manifest = json.loads(path.read_text())
            found[str(path.relative_to(self.data))] = str(manifest.get("content", manifest["fingerprint"]))
        for path in sorted(self.data.glob("train/*/final/*")):
            found[str(path.relative_to(self.data))] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def left_over(self) -> list[str]:
        """What the study left, after ten seconds."""
        time.sleep(10)
        left = [f"process {' '.join(process.cmdline())[:80]}" for process in self.processes()]
        left += [f"temporary {path.name}" for path in self.temporary.iterdir()]
        left += [f"/dev/shm/{name}" for name in sorted(set(os.listdir("/dev/shm")) - self.shared)]
        return left + [f"lock {path}" for path in self.data.rglob("*") if path.is_dir() and is_locked(path)]

    def close(self) -> None:
        """Ends what is left and unmounts the file system."""
        for process in self.processes():
            process.kill()
        time.sleep(0.5)
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


def kind_of(process: psutil.Process) -> str:
    """What a process of the study is."""
    line = " ".join(process.cmdline())
    words = {
        "flows.cli.main": "command",
        "prefect_server": "server",
        "accelerate": "launcher",
        "tasks.runtime": "trainer",
        "tasks.grading": "grader",
    }
    return next((kind for word, kind in words.items() if word in line), "other")


def kill_one(study: ChaosStudy, draw: random.Random) -> str | None:
    """Kills a process of the study and returns its kind; None where it was faster."""
    victims: dict[str, list[psutil.Process]] = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in study.processes():
            victims.setdefault(kind_of(process), []).append(process)
        if victims:
            kind = draw.choice(sorted(victims))
            draw.choice(victims[kind]).kill()
            return kind
    return None


def break_study(study: ChaosStudy, plan: list[bool], longest: float, draw: random.Random, killed: Counter[str]) -> None:
    """Runs a study to its end, with one kill for each entry of the plan; True: while its disk is full."""
    command = study.start()
    for full in plan:
        end = time.monotonic() + draw.uniform(0.5, longest)
        while time.monotonic() < end:
            time.sleep(0.1)
            if command.poll() is not None:
                if command.returncode == 0:
                    return  # it ended before all its kills; they are not counted
                command = study.start()
        if full:
            study.fill()
            time.sleep(3.0)
        kind = kill_one(study, draw)
        if kind is not None:
            killed[f"{kind}, disk full" if full else kind] += 1
        if full:
            time.sleep(3.0)
            study.empty()
    while command.wait() != 0:
        assert study.starts < 10 * len(plan) + 10, f"the study does not end; see {study.folder.parent}"
        command = study.start()


def main() -> None:
    """Runs the kills and prints what they changed and left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("--kills", 100), ("--full", 10), ("--per-study", 12), ("--seed", 0)):
        parser.add_argument(name, type=int, default=default)
    parser.add_argument("--longest", type=float, default=10.0)
    parser.add_argument("--executor", default="local")
    options = parser.parse_args()
    draw, killed = random.Random(options.seed), Counter[str]()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    whole = ChaosStudy("whole", folder / "whole", options.executor)
    began = time.monotonic()
    assert whole.start().wait() == 0, f"the study that is left alone fails; see {folder}"
    expected, usual = whole.contents(), whole.left_over()
    shutil.copytree(whole.data, folder / "whole-data")
    print(f"left alone: {time.monotonic() - began:.0f} s; left over: {usual or 'nothing'}", flush=True)
    whole.close()
    equal = studies = 0
    while killed.total() < options.kills:
        studies += 1
        study = ChaosStudy(f"study-{studies}", folder / f"study-{studies}", options.executor)
        kills = min(options.per_study, options.kills - killed.total())
        plan = [draw.random() < options.full / options.kills for _ in range(kills)]
        break_study(study, plan, options.longest, draw, killed)
        found, left = study.contents(), [name for name in study.left_over() if name not in usual]
        different = sorted(name for name in found.keys() | expected if found.get(name) != expected.get(name))
        equal += not different
        verdict = f"DIFFERENT: {', '.join(different)}" if different else "equal"
        print(f"{study.name}: {study.starts} starts, {verdict}; left over: {left or 'nothing'}", flush=True)
        if different:
            shutil.copytree(study.data, folder / f"{study.name}-data")
        study.close()
    print(f"{killed.total()} kills ({dict(killed)}) in {studies} studies: {equal} equal")


if __name__ == "__main__":
    main()
