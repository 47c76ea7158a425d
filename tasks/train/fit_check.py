"""`rlscale train --fit-check SIZE`: a run's memory, estimated and measured on fake tensors, beside its engine's."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.costs.memory import GIB, estimate, sleeping_engine, vllm_bytes
from tasks.costs.model_shape import ModelShape, find_config
from tasks.runtime.gpu_locks import Device
from tasks.study.errors import InputError
from tasks.study.grid import expand_grid
from tasks.study.params import Params, SizedHardware
from tasks.train.fake_update import Measurement, measure_update
from tasks.train.placement import choose_placement


@dataclass(frozen=True)
class FitCheck:
    """What a run of a size needs of each device, GiB.

    Attributes:
        size: its name.
        gpus: devices of the run.
        hardware: its hardware block, nulls chosen.
        measured: two updates on fake tensors.
        resident: what the trainer holds from beginning to end, gradients left out.
        peak: what it allocates at the fullest moment of an update, measured.
        estimated: the estimate of that.
        sleeping: what the sleeping engine keeps.
        engine: what the engine takes while it is awake.
        usable: what may be filled.
    """

    size: str
    gpus: int
    hardware: SizedHardware
    measured: Measurement
    resident: float
    peak: float
    estimated: float
    sleeping: float
    engine: float
    usable: float

    @property
    def ratio(self) -> float:
        """The estimate over what was measured."""
        return self.estimated / self.peak

    @property
    def in_update(self) -> float:
        """While the policy is updated and the engine sleeps."""
        return self.peak + self.sleeping

    @property
    def in_rollouts(self) -> float:
        """While the engine samples and the trainer waits."""
        return self.resident + self.sleeping + self.engine

    @property
    def fits(self) -> bool:
        """Whether both stay within what may be filled."""
        return max(self.in_update, self.in_rollouts) <= self.usable


def check_fit(params: Params, size: str, devices: tuple[Device, ...] = ()) -> FitCheck:
    """Measures a run of a size; the process must not have a process group.

    Args:
        params: the study.
        size: of the family.
        devices: this machine's GPUs.

    Raises:
        InputError: as `choose_placement`; no run of that size; or its updates cannot be measured so.
    """
    run = next((run for run in expand_grid(params) if run.size == size), None)
    if run is None:
        raise InputError(f"--fit-check {size}: the grid has no run of this size, only {', '.join(params.grid.sizes)}")
    placed = choose_placement(params, run, devices)
    if not placed.sharded or params.train.lora is not None:
        raise InputError(f"--fit-check {size}: only sharded full fine-tuning (bfloat16, or FSDP2) is measured")
    config = find_config(params, run.model)
    expected = estimate(params, placed.hardware, ModelShape.from_config(config), placed.memory)
    measured = measure_update(params, placed.hardware, config, placed.memory)
    colocated = params.train.engine == "vllm"
    return FitCheck(
        size=size,
        gpus=placed.num_processes,
        hardware=placed.hardware,
        measured=measured,
        resident=(measured.resident - expected.update["gradients"]) / GIB,
        peak=measured.peak / GIB,
        estimated=expected.trainer / GIB,
        sleeping=sleeping_engine(placed.hardware, placed.memory) / GIB if colocated else 0.0,
        engine=vllm_bytes(placed.hardware, placed.memory) / GIB if colocated else 0.0,
        usable=placed.memory.usable / GIB,
    )
