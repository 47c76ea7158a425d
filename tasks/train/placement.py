"""Placement of a run: how many processes on how many machines, with which accelerate config. Checked before a launch.

| processes | machine | config |
|---|---|---|
| 1 or more | no GPU | cpu.yaml (several processes: DDP over gloo) |
| 1 | GPU | one_gpu.yaml |
| up to a node's | GPUs | fsdp2_one_node.yaml |
| more | several nodes | fsdp2_multi_node.yaml |

`hardware.accelerate_config` overrides the choice; it is checked like the others.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

import yaml

from tasks.costs.hardware_choice import choose_hardware
from tasks.costs.memory import GIB, Devices, estimate, require_fit
from tasks.costs.model_shape import ModelShape, find_config
from tasks.runtime.gpu_locks import Device
from tasks.study.errors import InputError
from tasks.study.grid import Run
from tasks.study.params import Params, SizedHardware

CONFIGS = Path(__file__).parents[2] / "infra" / "accelerate"


@dataclass(frozen=True)
class Placement:
    """How a run is launched.

    Attributes:
        num_processes: one per device.
        num_nodes: machines they run on, equally many on each.
        config: accelerate config.
        sharded: whether the policy is sharded over them (FSDP2) or whole on each.
        gpu: whether the devices are GPUs.
        capacity: bytes of a device.
        hardware: the hardware block for the run's size, nulls chosen.
    """

    num_processes: int
    num_nodes: int
    config: Path
    sharded: bool
    gpu: bool
    capacity: float = math.inf
    hardware: SizedHardware = field(default_factory=SizedHardware)

    @property
    def memory(self) -> Devices:
        """The devices as `tasks.costs.memory` counts them."""
        per_node = self.num_processes // self.num_nodes
        return Devices(self.num_processes, per_node, self.sharded, self.capacity, self.gpu)


def choose_placement(params: Params, run: Run, devices: tuple[Device, ...]) -> Placement:
    """Chooses and checks the placement of a run.

    Args:
        params: the study.
        run: the run.
        devices: this machine's GPUs; unused where runs go elsewhere.

    Raises:
        InputError: the machine has too few devices, the config does not suit, the batch is too small for the
            processes, or the run does not fit the devices' memory.
    """
    hardware = params.hardware
    num_processes = hardware.gpus_per_run.get(run.size, 1)
    gpu = hardware.gpus_per_node > 0 and (hardware.elsewhere or bool(devices))
    num_nodes = -(-num_processes // hardware.gpus_per_node) if gpu else 1
    setting = f"hardware.gpus_per_run.{run.size} is {num_processes}"
    if not hardware.elsewhere and gpu and (num_nodes > 1 or num_processes > len(devices)):
        raise InputError(
            f"{setting}, this machine has {len(devices)} GPUs; set hardware.executor for a cluster, or leave "
            "the size out of grid.sizes"
        )
    if num_processes % num_nodes:
        raise InputError(f"{setting}, which does not fill {num_nodes} nodes of {hardware.gpus_per_node} GPUs equally")
    if params.train.minibatch < num_processes:
        raise InputError(f"{setting}, but train.minibatch has only {params.train.minibatch} prompts to share out")
    config = _config(params, num_processes, num_nodes, gpu)
    sharded = _is_sharded(config, num_processes) or params.train.precision == "bfloat16"
    shape = ModelShape.from_config(find_config(params, run.model))
    capacity = _capacity(params, num_processes, gpu, devices)
    placement = Placement(num_processes, num_nodes, config, sharded, gpu, capacity)
    chosen = choose_hardware(params, run.size, shape, placement.memory)
    require_fit(run.run_id, estimate(params, chosen, shape, placement.memory), placement.memory, run.size)
    return replace(placement, hardware=chosen)


def _config(params: Params, num_processes: int, num_nodes: int, gpu: bool) -> Path:
    override = params.hardware.accelerate_config
    if override is not None:
        return Path(override)
    if not gpu:
        return CONFIGS / "cpu.yaml"
    if num_nodes > 1:
        return CONFIGS / "fsdp2_multi_node.yaml"
    return CONFIGS / ("one_gpu.yaml" if num_processes == 1 else "fsdp2_one_node.yaml")


def _is_sharded(config: Path, num_processes: int) -> bool:
    """Whether a config shards; checks that it suits.

    Raises:
        InputError: no such config, or one that this program does not train with.
    """
    key = f"hardware.accelerate_config {config}"
    try:
        read = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"{key}: no such file") from None
    except yaml.YAMLError:
        raise InputError(f"{key}: not YAML") from None
    kind = read.get("distributed_type") if isinstance(read, dict) else None
    if kind not in {"NO", "MULTI_GPU", "FSDP"}:
        raise InputError(f"{key}: distributed_type must be NO, MULTI_GPU or FSDP (found {kind!r})")
    if read.get("mixed_precision", "no") != "no":
        raise InputError(f"{key}: mixed_precision must be 'no'; train.precision decides")
    if kind == "FSDP" and read.get("fsdp_config", {}).get("fsdp_version") != 2:
        raise InputError(f"{key}: fsdp_config.fsdp_version must be 2")
    if kind == "MULTI_GPU" and num_processes < 2:
        raise InputError(f"{key}: distributed_type MULTI_GPU needs at least 2 processes")
    return bool(kind == "FSDP")


def _capacity(params: Params, num_processes: int, gpu: bool, devices: tuple[Device, ...]) -> float:
    """Bytes of a device; on a CPU, each process's part of the machine's memory."""
    memory_gb = params.hardware.gpu_memory_gb
    if gpu and memory_gb is not None:
        return memory_gb * GIB
    if gpu and devices:
        return float(min(device.memory for device in devices))
    if gpu:
        raise InputError("hardware.gpu_memory_gb must be given where runs train on GPUs of other machines")
    if params.hardware.elsewhere:
        return math.inf  # nobody said how much memory those machines have
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) / num_processes
