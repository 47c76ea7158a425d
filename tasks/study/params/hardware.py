"""The `tracking` and `hardware` blocks: what must not change a result.

Keys marked "by size" take one value for all sizes, a mapping from size names to values, or null. A size that a mapping
leaves out counts as null there. What null means for a training run is decided by `tasks.train.placement` from the
memory estimate; elsewhere `Hardware.of_size` has the values.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self, TypeVar

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from tasks.study.params.block import ConfigBlock, Fraction

T = TypeVar("T")
TOKEN_BUDGET, GENERATION_BATCH = 16384, 1024
"""What the two are where nothing chooses them."""


def of_size(value: T | dict[str, T] | None, size: str) -> T | None:
    """A by-size key's value for one size."""
    return value.get(size) if isinstance(value, dict) else value


class Tracking(ConfigBlock):
    """MLflow. null: a SQLite store inside the data root; the environment variable MLFLOW_TRACKING_URI overrides."""

    enabled: bool = True
    uri: str | None = None
    live_seconds: PositiveFloat = Field(default=30.0, description="How often a run in flight is published.")


class VllmHardware(ConfigBlock):
    """vLLM's engine. Null: chosen from the machine."""

    tensor_parallel: PositiveInt | dict[str, PositiveInt] | None = Field(
        default=None, description="GPUs of an engine, by size. null: as few as hold the weights."
    )
    memory_share: Fraction | dict[str, Fraction] | None = Field(
        default=None, description="Part of a GPU's memory that an engine beside a trainer takes, by size."
    )
    mode: Literal["colocate", "server"] = "colocate"
    server: str | None = Field(default=None, description="URL of a running server (mode: server).")


class SizedVllm(VllmHardware):
    """vLLM's settings for one size."""

    tensor_parallel: PositiveInt | None = None
    memory_share: Fraction | None = None


class Hardware(ConfigBlock):
    """What the work runs on. Nothing here enters a run id or a fingerprint."""

    added: ClassVar[frozenset[str]] = frozenset(
        {"grace_seconds", "collective_timeout_seconds", "executor", "slurm_options"}
    )
    workers: PositiveInt | None = Field(
        default=None,
        description="Runs trained side by side; null: one per core or GPU set, or as a cluster's queue orders them.",
    )
    threads_per_worker: PositiveInt = 1
    gpus_per_run: dict[str, PositiveInt] = Field(
        default_factory=dict, description="GPUs by size name; absent: 1. On a machine without any: processes."
    )
    gpu_memory_gb: PositiveFloat | None = Field(
        default=None,
        description="Memory of a GPU in GiB as its driver counts it: 79.1 for an H100 or A100 of 80 GB. "
        "null: asked of this machine; needed where jobs run on GPUs elsewhere.",
    )
    token_budget: PositiveInt | dict[str, PositiveInt] | None = Field(
        default=None, description="Tokens of a packed micro-batch, by size. null: as many as fit, on a CPU up to 16384."
    )
    generation_batch: PositiveInt | dict[str, PositiveInt] | None = Field(
        default=None, description="Sequences decoded together at most, by size. null: as many as fit, up to 1024."
    )
    gradient_checkpointing: bool | dict[str, bool] | None = Field(
        default=False, description="Recomputes activations, by size. null: where the run does not fit without."
    )
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
    gpus_per_node: NonNegativeInt = Field(default=8, description="Of a cluster's machines; 0: machines without GPUs.")
    executor: Literal["local", "slurm", "ray"] = Field(
        default="local",
        description="Where jobs of all stages run: this machine, Slurm's queue, or the Ray cluster at RAY_ADDRESS. "
        "The environment variable RLSCALE_EXECUTOR overrides it.",
    )
    slurm_options: tuple[str, ...] = Field(
        default=(), description="Options of every sbatch, such as --partition=gpu and --time=24:00:00."
    )
    launch_command: str | None = Field(
        default=None,
        description="For other batch systems, with executor local: prefix of every training launch, a command that "
        "waits for the job; may use {nodes}, {gpus}, {gpus_per_node} and {run}.",
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
    python: str | None = Field(
        default=None,
        description="Interpreter that trains and evaluates: a path, relative to the params file's folder, or a name in "
        "PATH. null: this one.",
    )
    vllm: VllmHardware = VllmHardware()

    @model_validator(mode="after")
    def _one_way_to_launch(self) -> Self:
        if self.executor != "local" and self.launch_command is not None:
            raise ValueError(f"launch_command goes with executor: local (found executor: {self.executor})")
        return self

    @property
    def elsewhere(self) -> bool:
        """Whether training runs on other machines than this one."""
        return self.executor != "local" or self.launch_command is not None

    def of_size(self, size: str) -> SizedHardware:
        """The block with one size's values; a null that nothing has chosen becomes the key's default."""
        vllm = {name: of_size(getattr(self.vllm, name), size) for name in ("tensor_parallel", "memory_share")}
        chosen = {
            "token_budget": of_size(self.token_budget, size) or TOKEN_BUDGET,
            "generation_batch": of_size(self.generation_batch, size) or GENERATION_BATCH,
            "gradient_checkpointing": bool(of_size(self.gradient_checkpointing, size)),
            "vllm": SizedVllm(**{**dict(self.vllm), **vllm}),
        }
        return SizedHardware(**{**dict(self), **chosen})

    def sizes_named(self) -> dict[str, set[str]]:
        """The sizes that each by-size key names, by the key's name."""
        values = {**dict(self), **{f"vllm.{name}": value for name, value in self.vllm}}
        return {name: set(value) for name, value in values.items() if isinstance(value, dict)}


class SizedHardware(Hardware):
    """The hardware block for one size: a value for every by-size key."""

    token_budget: PositiveInt = TOKEN_BUDGET
    generation_batch: PositiveInt = GENERATION_BATCH
    gradient_checkpointing: bool = False
    vllm: SizedVllm = SizedVllm()
