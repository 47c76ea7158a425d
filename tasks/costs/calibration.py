"""Steps that a user's own runs took against those that `step_time` predicts of them: factors by phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tasks.costs.gpu_table import Gpu
from tasks.costs.step_cost import Workload
from tasks.costs.step_time import Efficiency, step_seconds


@dataclass(frozen=True)
class TimedRun:
    """A run whose seconds are known.

    Attributes:
        source: where they were read.
        n: parameters.
        gpus: GPUs of the run.
        work: its step; without evaluation, whose problems a log does not count.
        seconds: of a step by the phases that were timed together.
    """

    source: str
    n: float
    gpus: int
    work: Workload
    seconds: Mapping[tuple[str, ...], float]


def calibrated(efficiency: Efficiency, gpu: Gpu, runs: Sequence[TimedRun]) -> tuple[Efficiency, list[str]]:
    """The efficiency with factors by phase, geometric means over the runs, and sentences about what changed.

    Args:
        efficiency: shares of the hardware's rates.
        gpu: what the runs ran on.
        runs: the runs.
    """
    ratios: dict[str, list[float]] = {}
    notes = []
    for run in runs:
        predicted = step_seconds(run.n, run.work, gpu, efficiency, run.gpus)
        for phases, measured in run.seconds.items():
            expected = sum(predicted[phase] for phase in phases)
            for phase in phases:
                ratios.setdefault(phase, []).append(measured / expected)
            notes.append(
                f"{run.source}: {' + '.join(phases)} took {measured:.3g} s a step, {expected:.3g} s were expected"
            )
    factors = {phase: float(np.exp(np.mean(np.log(found)))) for phase, found in ratios.items()}
    return replace(efficiency, factors=factors), notes
