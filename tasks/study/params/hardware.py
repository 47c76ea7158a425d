"""The `tracking` and `hardware` blocks: what must not change a result."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from tasks.study.params.block import ConfigBlock, Fraction


class Tracking(ConfigBlock):
    """MLflow. null: a SQLite store inside the data root; the environment variable MLFLOW_TRACKING_URI overrides."""

    enabled: bool = True
    uri: str | None = None
    live_seconds: PositiveFloat = Field(default=30.0, description="How often a run in flight is published.")


class VllmHardware(ConfigBlock):
    """vLLM's engine. Null: chosen from the machine."""

    tensor_parallel: PositiveInt | None = None
    memory_share: Fraction | None = None
    mode: Literal["colocate", "server"] = "colocate"
    server: str | None = Field(default=None, description="URL of a running server (mode: server).")


class Hardware(ConfigBlock):
    """What the work runs on. Nothing here enters a run id or a fingerprint."""

    added: ClassVar[frozenset[str]] = frozenset({"grace_seconds", "collective_timeout_seconds"})
    workers: PositiveInt | None = Field(
        default=None, description="Runs trained side by side; null: one per core or GPU set."
    )
    threads_per_worker: PositiveInt = 1
    gpus_per_run: dict[str, PositiveInt] = Field(
        default_factory=dict, description="GPUs by size name; absent: 1. On a machine without any: processes."
    )
    gpu_memory_gb: PositiveFloat | None = Field(
        default=None, description="Memory of a GPU, GiB. null: asked of this machine; needed with launch_command."
    )
    token_budget: PositiveInt = Field(default=16384, description="Tokens of a packed micro-batch.")
    generation_batch: PositiveInt = Field(default=1024, description="Sequences decoded together at most.")
    gradient_checkpointing: bool = False
    kernels: Literal["transformers", "liger"] = Field(
        default="transformers", description="Of norms, rotary embedding and SwiGLU in training; liger needs a GPU."
    )
    compile_layers: bool = Field(
        default=False, description="torch.compile for each layer in training: minutes at the start, faster updates."
    )
    deterministic: bool = Field(
        default=False,
        description="On GPUs: deterministic kernels only, which is slower; without them a step repeated on the same "
        "machine may differ in its last bits. On a CPU they always are.",
    )
    accelerate_config: str | None = Field(
        default=None, description="Overrides the config chosen from infra/accelerate."
    )
    gpus_per_node: PositiveInt = 8
    launch_command: str | None = Field(
        default=None,
        description="Prefix of every training launch, e.g. `sbatch --wait --nodes={nodes} infra/slurm/train.sbatch`; "
        "may use {nodes}, {gpus}, {gpus_per_node} and {run}.",
    )
    grace_seconds: NonNegativeFloat = Field(
        default=60.0,
        description="After SIGTERM, SIGUSR1 or Ctrl-C: time for a run to end its step and to write a checkpoint.",
    )
    collective_timeout_seconds: PositiveFloat = Field(
        default=3600.0, description="A process that others wait for so long counts as lost."
    )
    grading_workers: PositiveInt = 1
    grading_seconds: PositiveFloat = 5.0
    grading_memory_mb: PositiveInt = 2048
    python: str | None = Field(default=None, description="Interpreter that trains and evaluates; null: this one.")
    vllm: VllmHardware = VllmHardware()
