"""Launching: every run is trained by processes that `accelerate launch` started.

On a CPU the processes are launched once and train many runs one after another, because importing torch costs more than
a small run. On GPUs they are launched for each run, on devices that are locked as long as they live, and end with it.
Elsewhere (`hardware.executor`) the run travels as a job file. The code they run is the same:
`tasks.train.loop:train_job`.

What can go wrong and what is done about it: a launch that fails, processes that die, a node, device or engine that is
lost, a job that its scheduler stops: each is launched again after a pause and goes on from the last checkpoint. It is
given up after as many failures in a row as there are pauses, and a new checkpoint starts the count anew, so that a run
longer than a job's time limit ends. A run out of memory is tried once more with half the token budget.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import asdict
from typing import Any

from tasks.costs.disk import require_disk, run_disk
from tasks.records.stopping import STOPPED, StoppedRun
from tasks.runtime.executors import WorkOrder
from tasks.runtime.job_answers import OutOfMemory
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
        if params.hardware.workers is None and self.executor is None:
            smallest = min(params.hardware.gpus_per_run.values(), default=1)
            self.slots = max(1, (len(self.devices) or usable_cores()) // smallest)

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
        checkpoints = StudyPaths.of(params).checkpoints(run)
        order = WorkOrder(
            name=run.run_id,
            folder=StudyPaths.of(params).run(run),
            num_processes=placement.num_processes,
            num_nodes=placement.num_nodes,
            num_gpus=placement.num_processes if placement.gpu else 0,
            config=placement.config,
            environment=launch_environment(params.hardware, placement),
        )

        def attempt() -> dict[str, Any]:
            with self.lease(order, accelerate_command(params.hardware, placement)) as worker:
                return dict(worker.run(self._job, arguments))

        def reached() -> str:
            newest = find_complete_checkpoint(checkpoints, work["fingerprint"])
            return newest.name if newest else "the start"

        return dict(self.keep_trying(run.run_id, attempt, reached))


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
