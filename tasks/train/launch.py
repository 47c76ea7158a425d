"""Launching: every run is trained by processes that `accelerate launch` started.

On a CPU the processes are launched once and train many runs one after another, because importing torch costs more than
a small run. On GPUs they are launched for each run, on devices that are locked as long as they live, and end with it.
Elsewhere (`hardware.launch_command`) the run travels as a job file. The code they run is the same:
`tasks.train.loop:train_job`.

What can go wrong and what is done about it: a launch that fails, processes that die, a node, device or engine that is
lost, a job that its scheduler stops: each is launched again after a pause and goes on from the last checkpoint. It is
given up after as many failures in a row as there are pauses, and a new checkpoint starts the count anew, so that a run
longer than a job's time limit ends. A run out of memory is tried once more with half the token budget.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.costs.disk import require_disk, run_disk
from tasks.records.stopping import STOPPED, StoppedRun
from tasks.runtime.job_answers import JobPreempted, OutOfMemory, WorkCancelled, WorkerDied
from tasks.runtime.job_files import JobFileLaunch
from tasks.runtime.launcher import Launcher
from tasks.runtime.machine import usable_cores
from tasks.runtime.patient_launch import COMMAND
from tasks.runtime.workers import thread_environment
from tasks.study.fingerprints import run_fingerprint
from tasks.study.grid import Run
from tasks.study.manifests import folder_lock, is_complete, once
from tasks.study.params import Hardware, Params, SizedHardware
from tasks.study.paths import StudyPaths
from tasks.train.checkpoint_folder import find_complete_checkpoint, remove_resumable
from tasks.train.placement import Placement, choose_placement

log = logging.getLogger(__name__)

TRAIN_TASK = "tasks.train.loop:train_job"
PAUSES = (2.0, 8.0, 30.0)
"""Seconds before a launch that failed or was lost is tried again, by failures since the last new checkpoint."""
CLUSTER_SLOTS = 64
"""Runs handed to a launch command at a time where `hardware.workers` is null; the cluster's queue orders them."""


class RunLauncher(Launcher):
    """Trains runs; give them to it from as many threads as it has slots."""

    def __init__(self, params: Params, job: str = TRAIN_TASK) -> None:
        """Looks at the machine; nothing is started before the first run.

        Args:
            params: the study.
            job: function that trains a run. Another may wrap `tasks.train.loop:train_job`, to observe or to make it
                fail.
        """
        super().__init__(params, "train")
        self.grace_seconds = params.hardware.grace_seconds
        self._job = job
        if params.hardware.workers is None:
            self.slots = _default_slots(params.hardware, len(self.devices) or usable_cores())

    def train(self, run: Run, fingerprint: str, **segment: Any) -> dict[str, Any]:
        """Trains a run; returns the facts for its manifest.

        Args:
            run: the run.
            fingerprint: of its work.
            segment: `until` and `close` of `tasks.train.loop.train`; none: the whole run.

        Raises:
            InputError: bad input, or a run that cannot fit the devices or the disk.
            OutOfMemory: it ran out of memory with the token budget and with half of it.
            As `tasks.runtime.workers.Worker.run` otherwise.
        """
        placement = choose_placement(self.params, run, self.devices)
        require_disk(StudyPaths.of(self.params).run(run), run_disk(self.params, run).peak, f"run {run.run_id}")
        work = {"fingerprint": fingerprint} | segment
        hardware, budget = placement.hardware, placement.hardware.token_budget
        try:
            return self._launch(run, work, placement, self._params_on(hardware))
        except OutOfMemory:
            log.warning("%s ran out of memory; trying once more with hardware.token_budget %d", run.run_id, budget // 2)
        halved = hardware.model_copy(update={"token_budget": max(1, budget // 2)})
        try:
            return self._launch(run, work, placement, self._params_on(halved))
        except OutOfMemory as error:
            raise OutOfMemory(
                f"{run.run_id} ran out of memory with hardware.token_budget {budget} and again with {budget // 2}; "
                f"raise hardware.gpus_per_run.{run.size} or set hardware.gradient_checkpointing\n{error}"
            ) from error

    def _params_on(self, hardware: SizedHardware) -> Params:
        """The params with a run's own hardware."""
        return self.params.model_copy(update={"hardware": hardware})

    def _launch(self, run: Run, work: dict[str, Any], placement: Placement, params: Params) -> dict[str, Any]:
        """Trains a run, launching it again as long as it gets on or pauses are left."""
        arguments = {"params": params.model_dump_json(), "run": asdict(run)} | work
        checkpoints, failures = StudyPaths.of(params).checkpoints(run), 0
        newest = find_complete_checkpoint(checkpoints, work["fingerprint"])
        while True:
            try:
                return self._launch_once(run, placement, arguments)
            except WorkerDied as error:
                before, newest = newest, find_complete_checkpoint(checkpoints, work["fingerprint"])
                failures = failures + 1 if newest == before else 0
                if failures > len(PAUSES):
                    raise
                pause = 0.0 if isinstance(error, JobPreempted) and not failures else PAUSES[max(0, failures - 1)]
                log.warning(
                    "%s: %s; going on from %s in %.0f s, see %s",
                    run.run_id,
                    str(error).strip().splitlines()[-1],
                    newest.name if newest else "the start",
                    pause,
                    self.log,
                )
                if self._stop.wait(pause):
                    raise WorkCancelled(f"stopped before {run.run_id} was done") from error

    def _launch_once(self, run: Run, placement: Placement, arguments: dict[str, Any]) -> dict[str, Any]:
        hardware = self.params.hardware
        environment = launch_environment(hardware, placement)
        with contextlib.ExitStack() as stack:
            if hardware.launch_command is not None:
                folder = _numbered_folder(StudyPaths.of(self.params).run(run) / "launches")
                command = cluster_command(hardware, placement, run)
                worker = stack.enter_context(self.lend(JobFileLaunch(command, environment, folder)))
            else:
                num_gpus = placement.num_processes if placement.gpu else 0
                command = accelerate_command(hardware, placement)
                worker = stack.enter_context(self.lease(command, environment, placement.num_processes, num_gpus))
            return dict(worker.run(self._job, arguments))


def _default_slots(hardware: Hardware, num_devices: int) -> int:
    """Runs side by side: as many of the smallest as the GPUs, else the cores, are enough for."""
    if hardware.launch_command is not None:
        return CLUSTER_SLOTS
    return max(1, num_devices // min(hardware.gpus_per_run.values(), default=1))


def _numbered_folder(folder: Path) -> Path:
    """A new numbered folder below `folder`."""
    for number in itertools.count(1):
        with contextlib.suppress(FileExistsError):
            path = folder / f"{number:04d}"
            path.mkdir(parents=True)
            return path
    raise AssertionError("unreachable")


def launch_environment(hardware: Hardware, placement: Placement) -> dict[str, str]:
    """Variables of a launch: threads, and for several processes on one machine a rendezvous port that torch binds
    itself, so that launches side by side cannot take each other's."""
    variables = thread_environment(hardware.threads_per_worker)
    if not placement.gpu:
        variables["ACCELERATE_USE_CPU"] = "true"
    if placement.num_nodes == 1 and placement.num_processes > 1:
        variables["PET_STANDALONE"] = "1"
    return variables


def accelerate_command(hardware: Hardware, placement: Placement) -> list[str]:
    """The command up to and including `-m` that starts a worker's processes on this machine."""
    command = [hardware.python or sys.executable, "-m", COMMAND]
    command += ["--config_file", str(placement.config), "--num_processes", str(placement.num_processes)]
    command += ["--num_cpu_threads_per_process", str(hardware.threads_per_worker), "--main_process_port", "0"]
    if placement.num_processes > 1 and not placement.sharded:
        command.append("--multi_gpu")  # accelerate's word for several processes, on a CPU too
    return [*command, "-m"]


def cluster_command(hardware: Hardware, placement: Placement, run: Run) -> list[str]:
    """The command that trains a run elsewhere, short of the job file: the launch command, then a node's program."""
    assert hardware.launch_command is not None
    per_node = placement.num_processes // placement.num_nodes
    launch_command = hardware.launch_command.format(
        nodes=placement.num_nodes, gpus=placement.num_processes, gpus_per_node=per_node, run=run.run_id
    )
    command = [*shlex.split(launch_command), hardware.python or sys.executable, "-m", "tasks.runtime.cluster_node"]
    command += ["--config", str(placement.config), "--processes", str(placement.num_processes)]
    command += ["--nodes", str(placement.num_nodes), "--threads", str(hardware.threads_per_worker)]
    return [*command, "--grace", str(hardware.grace_seconds)]


def train_once(params: Params, run: Run, launcher: RunLauncher, stop: StoppedRun | None = None) -> dict[str, Any]:
    """Trains a run to its end, or to where it is stopped, unless its folder proves it done; returns its manifest.

    What the run was resumed from goes when the manifest, with the digests of the final policy, is there.
    """
    paths, fingerprint = StudyPaths.of(params), run_fingerprint(params, run)

    def body() -> tuple[list[str], dict[str, Any]]:
        facts = launcher.train(run, fingerprint, **({} if stop is None else {"until": stop.step}))
        final = sorted(f"final/{path.name}" for path in paths.final(run).iterdir() if path.is_file())
        closing = {} if stop is None else {STOPPED: asdict(stop)}
        return [paths.metrics(run).name, paths.run_params(run).name, *final], facts | closing

    manifest = once(paths.run(run), "train", fingerprint, body)[0]
    remove_resumable(paths.checkpoints(run), params.checkpoints)
    return manifest


def train_until(params: Params, run: Run, launcher: RunLauncher, step: int) -> None:
    """Trains a run to a step and leaves it there with a checkpoint, unless it has been there or is done."""
    paths, fingerprint = StudyPaths.of(params), run_fingerprint(params, run)
    with folder_lock(paths.run(run)):
        reached = [path for path in paths.checkpoints(run).glob("step-*") if int(path.name[5:]) >= step]
        if not any(is_complete(folder, fingerprint) for folder in (paths.run(run), *reached)):
            launcher.train(run, fingerprint, until=step, close=False)
