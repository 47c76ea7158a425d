"""The params files, as frozen models; the only reader of `params.yaml` and its siblings.

One file describes one study. Each block carries the name of the stage it belongs to (`study`, `grid`, `tracking` and
`hardware` are the blocks that belong to none). Everything that changes a result is in it and nothing is left to a
library's default; what must not change a result (worker counts, token budgets, devices) stands in `hardware`, which
no fingerprint and no run id ever sees. Unknown keys, wrong types and impossible values raise `InputError` with one
sentence that names the file and the key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from tasks.study.errors import InputError

Variant = Literal["base", "instruct"]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.]*$", max_length=40)]


class ConfigBlock(BaseModel):
    """A block of a params file: immutable, and closed to unknown keys and loose types."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Study(ConfigBlock):
    """Name of the study and folder of its artifacts."""

    name: Name = Field(description="Names the MLflow experiment and the Prefect flow run.")
    data_root: str = Field(description="Folder of all artifacts, relative to the params file.", min_length=1)


class ReuseAxis(ConfigBlock):
    """The data-reuse axis: one size, one seed, several reuse factors tau > 1 (tau = 1 is on the scale axis)."""

    size: Name
    seed: int
    factors: tuple[PositiveInt, ...] = ()


class GroupAxis(ConfigBlock):
    """The optional group-size axis: one size, one seed, several group sizes G besides `train.group_size`."""

    size: Name
    seed: int
    values: tuple[PositiveInt, ...] = ()


class Grid(ConfigBlock):
    """Which experiments are run: sizes x variants x seeds, the reuse axis and the optional group-size axis."""

    sizes: tuple[Name, ...] = Field(min_length=1)
    variants: tuple[Variant, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    reuse: ReuseAxis | None = None
    group_size: GroupAxis | None = None


class ArithmeticSource(ConfigBlock):
    """Generated problems in graded levels: level l draws +, - and * with operands growing in digits."""

    kind: Literal["arithmetic"]
    levels: PositiveInt = Field(le=8)
    digit_accuracy: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        description="Difficulty is measured as the pass rate p^ops of a solver that gets each of the `ops` elementary "
        "digit operations of the schoolbook method right with probability p."
    )


class FileSource(ConfigBlock):
    """A local parquet or JSONL file, in the published row layout or as plain problem, answer[, pass_rate]."""

    kind: Literal["file"]
    path: str
    heldout_path: str | None = Field(
        default=None, description="A held-out set of its own; without it one is split off."
    )
    pass_rate_column: str = Field(
        default="qwen2.5_7b_pass_rate", description="Where difficulty stands: a column, or a key of extra_info."
    )


class HubSource(ConfigBlock):
    """A hub data set at a pinned revision."""

    kind: Literal["hub"]
    repository: str
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = Field(
        description="Commit of the data set. null: must be given before the stage will download anything."
    )
    train_file: str
    heldout_file: str | None = None
    pass_rate_column: str = Field(
        default="qwen2.5_7b_pass_rate", description="Where difficulty stands: a column, or a key of extra_info."
    )


class Benchmark(ConfigBlock):
    """An evaluation set besides the held-out one, and how it is sampled (`samples` completions per problem)."""

    name: Name
    source: Literal["arithmetic", "file", "hub"]
    path: str | None = Field(default=None, description="File of the set: local, or inside the hub repository.")
    repository: str | None = Field(default=None, description="Hub data set (hub only); null: that of the source.")
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = Field(
        default=None, description="Commit of that data set; null: as the source, where the repository is the same."
    )
    origin: str | None = Field(default=None, description="Where a local file can be had; said when it is missing.")
    problems: PositiveInt | None = Field(default=None, description="How many to generate (arithmetic only).")
    level: PositiveInt | None = Field(
        default=None, description="Level to generate (arithmetic only); may exceed training's."
    )
    samples: PositiveInt = 1
    temperature: PositiveFloat | None = Field(default=None, description="null: as `evaluate.temperature`.")
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        default=None, description="null: as `evaluate.top_p`."
    )
    max_completion_tokens: PositiveInt | None = Field(default=None, description="null: as `train.sampling`.")


class Cleaning(ConfigBlock):
    """Which cleaning rules run on a real problem set; the generator's problems pass through them too."""

    repair_backslashes: bool = True
    near_duplicate_similarity: Annotated[float, Field(gt=0.5, le=1.0)] = Field(
        default=0.9,
        description="Jaccard similarity of 5-byte pieces of the normalised text from which two training problems with "
        "the same numbers or the same answer are one; 1: equal normalised texts only.",
    )
    decontaminate_similarity: Annotated[float, Field(gt=0.5, le=1.0)] | None = Field(
        default=None,
        description="The same between a training and an evaluation problem, whatever their numbers; null: as above.",
    )
    decontaminate_ngram: PositiveInt = Field(
        default=13, description="A shared run of so many words marks an overlap, boilerplate left aside."
    )

    @property
    def overlap_similarity(self) -> float:
        """`decontaminate_similarity` with its default filled in."""
        return self.decontaminate_similarity or self.near_duplicate_similarity


class Prepare(ConfigBlock):
    """Problems: source, cleaning, difficulty, splits."""

    seed: int
    source: Annotated[ArithmeticSource | FileSource | HubSource, Field(discriminator="kind")]
    instruction: str = Field(
        description="Put before each problem unless the problem already carries one; may be empty."
    )
    suffix: str = Field(description="Put after each problem unless it already asks for a box; may be empty.")
    heldout: PositiveInt = Field(description="Held-out problems, half easy and half hard.")
    easy_threshold: Fraction = Field(description="Easy means pass rate >= this.")
    cleaning: Cleaning = Cleaning()
    tokenizer: str | None = Field(
        default=None,
        description="Tokenizer that measures prompts against train.sampling.max_prompt_tokens: a local folder or a hub "
        "model. null: lengths are not checked here (sampling still refuses a prompt that is too long).",
    )
    tokenizer_revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    pass_rates: str | None = Field(
        default=None,
        description="File of pass rates measured by `rlscale prepare --measure-pass-rate`, for problems without one.",
    )
    benchmarks: tuple[Benchmark, ...] = ()


class SupervisedStage(ConfigBlock):
    """A supervised stage of the miniature family: AdamW with linear warm-up and cosine decay to a tenth."""

    steps: PositiveInt
    batch: PositiveInt = Field(description="Sequences per step.")
    learning_rate: PositiveFloat = Field(description="Peak, for hidden = 64; scaled by 64 / hidden for the others.")
    wrong_answers: Fraction = Field(
        description="Share of training answers replaced by a wrong one, after the clean part."
    )
    clean_share: Fraction = Field(description="Share of the steps, at the start, whose answers are all right.")


class TinyModel(ConfigBlock):
    """A size of the miniature family: the shape of a Qwen2ForCausalLM."""

    name: Name
    hidden: PositiveInt
    layers: PositiveInt
    heads: PositiveInt
    kv_heads: PositiveInt
    ffn: PositiveInt

    @model_validator(mode="after")
    def _shape_is_possible(self) -> TinyModel:
        if self.hidden % self.heads or (self.hidden // self.heads) % 2:
            raise ValueError("hidden must be heads times an even head size")
        if self.heads % self.kv_heads:
            raise ValueError("kv_heads must divide heads")
        return self


class TinyFamily(ConfigBlock):
    """Models trained here, from nothing, on arithmetic text."""

    kind: Literal["tiny"]
    seed: int
    models: tuple[TinyModel, ...] = Field(min_length=1)
    base: SupervisedStage
    instruct: SupervisedStage


class HubModel(ConfigBlock):
    """A pinned pair of hub checkpoints. A local folder may stand in for a repository, with revision null."""

    name: Name
    nominal: PositiveFloat = Field(description="Nominal parameter count, as published.")
    base: str
    base_revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None
    instruct: str
    instruct_revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None


class HubFamily(ConfigBlock):
    """Published checkpoints, resolved at pinned revisions."""

    kind: Literal["hub"]
    models: tuple[HubModel, ...] = Field(min_length=1)


class Pretrain(ConfigBlock):
    """The model family."""

    family: Annotated[TinyFamily | HubFamily, Field(discriminator="kind")]


class Objective(ConfigBlock):
    """The GRPO objective: clipped surrogate minus KL to the initial policy; equations in `tasks.train.objective`."""

    clip_low: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(description="Ratio is clipped below at 1 - clip_low.")
    clip_high: PositiveFloat = Field(description="Ratio is clipped above at 1 + clip_high.")
    kl_coefficient: Annotated[float, Field(ge=0.0)] = Field(
        description="Weight of the KL to the initial policy; 0 skips its pass."
    )
    kl_estimator: Literal["k1", "k2", "k3"] = Field(description="k3 = exp(d) - d - 1 with d = log ref - log policy.")
    aggregation: Literal["token_mean", "sequence_mean"] = Field(
        description="token_mean: sum over tokens / all tokens of the minibatch; "
        "sequence_mean: mean over sequences of their mean."
    )
    advantage_eps: PositiveFloat = Field(description="A = (r - mean) / (std + eps), std unbiased over the group.")
    importance_cap: PositiveFloat | None = Field(
        description="Token-level truncated importance sampling: weight min(exp(trainer - sampler), cap). null: off."
    )


class Optimizer(ConfigBlock):
    """AdamW with a constant learning rate."""

    learning_rate: PositiveFloat
    weight_decay: Annotated[float, Field(ge=0.0)]
    beta1: Fraction
    beta2: Fraction
    eps: PositiveFloat
    grad_clip: PositiveFloat = Field(description="Global gradient norm is clipped to this.")


class Sampling(ConfigBlock):
    """Rollouts. Lengths in tokens."""

    temperature: PositiveFloat
    top_p: Annotated[float, Field(gt=0.0, le=1.0)]
    max_prompt_tokens: PositiveInt
    max_completion_tokens: PositiveInt


class HeldoutEvaluation(ConfigBlock):
    """Held-out evaluation inside training: before the first step and after every `every`-th."""

    temperature: PositiveFloat
    top_p: Annotated[float, Field(gt=0.0, le=1.0)]
    samples: PositiveInt
    every: PositiveInt


class PromptStyle(ConfigBlock):
    """How each variant is prompted: `chat` applies the tokenizer's chat template, `plain` the bare problem text."""

    base: Literal["plain", "chat"]
    instruct: Literal["plain", "chat"]


class Checkpoints(ConfigBlock):
    """Which training checkpoints are kept. Steps, counted from 1; the final weights are always kept."""

    every: PositiveInt
    keep_last: PositiveInt = 1
    keep_every: PositiveInt | None = None


class Lora(ConfigBlock):
    """Low-rank adapters instead of full fine-tuning."""

    rank: PositiveInt
    alpha: PositiveFloat
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Train(ConfigBlock):
    """GRPO. `batch` and `minibatch` count prompts; each prompt gets `group_size` completions."""

    engine: Literal["transformers", "vllm"]
    steps: PositiveInt
    batch: PositiveInt
    group_size: PositiveInt
    minibatch: PositiveInt
    precision: Literal["float32", "bfloat16"]
    prompt_style: PromptStyle
    objective: Objective
    optimizer: Optimizer
    sampling: Sampling
    heldout: HeldoutEvaluation
    lora: Lora | None = None

    @model_validator(mode="after")
    def _batches_are_possible(self) -> Train:
        if self.group_size < 2:
            raise ValueError("group_size must be at least 2: the advantage is taken within the group")
        if self.batch % self.minibatch:
            raise ValueError(f"minibatch {self.minibatch} must divide batch {self.batch}")
        return self


class Evaluate(ConfigBlock):
    """Final evaluation of every run on the held-out set and the benchmarks."""

    engine: Literal["transformers", "vllm"]
    seed: int
    temperature: PositiveFloat
    top_p: Annotated[float, Field(gt=0.0, le=1.0)]
    heldout_samples: PositiveInt
    pass_at: tuple[PositiveInt, ...] = Field(
        min_length=1, description="k of pass@k; k above the samples drawn is left out."
    )


class Fit(ConfigBlock):
    """The scaling law. `law` is the one reported first; the others are compared with it."""

    law: Literal["saturating", "loglinear", "pivot", "power_k"]
    objective: Literal["log", "linear", "binomial", "huber"]
    bootstrap_draws: PositiveInt
    seed: int
    skip_steps: Annotated[int, Field(ge=0)] = Field(description="Warm-up clipping: leave out the first steps.")
    equal_weight_per_size: bool


class Report(ConfigBlock):
    """The report."""

    title: str


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
    accelerate_config: str | None = Field(
        default=None, description="Overrides the config chosen from infra/accelerate."
    )
    gpus_per_node: PositiveInt = 8
    launch_command: str | None = Field(
        default=None,
        description="Prefix of every training launch, e.g. `sbatch --wait --nodes={nodes} infra/slurm/train.sbatch`; "
        "may use {nodes}, {gpus}, {gpus_per_node} and {run}.",
    )
    grading_workers: PositiveInt = 1
    grading_seconds: PositiveFloat = 5.0
    grading_memory_mb: PositiveInt = 2048
    python: str | None = Field(default=None, description="Interpreter that trains and evaluates; null: this one.")
    vllm: VllmHardware = VllmHardware()


class Params(ConfigBlock):
    """One study, whole."""

    study: Study
    grid: Grid
    prepare: Prepare
    pretrain: Pretrain
    train: Train
    evaluate: Evaluate
    fit: Fit
    report: Report
    checkpoints: Checkpoints
    tracking: Tracking = Tracking()
    hardware: Hardware = Hardware()

    @model_validator(mode="after")
    def _blocks_agree(self) -> Params:
        sizes = {model.name for model in self.pretrain.family.models}
        axes = [axis for axis in (self.grid.reuse, self.grid.group_size) if axis is not None]
        for size in (*self.grid.sizes, *(axis.size for axis in axes)):
            if size not in sizes:
                raise ValueError(f"grid names size {size!r}, but pretrain.family.models has only {sorted(sizes)}")
        prompts = self.train.steps * self.train.batch
        for tau in self.grid.reuse.factors if self.grid.reuse else ():
            if prompts % tau:
                raise ValueError(f"grid.reuse.factors: {tau} does not divide train.steps x train.batch = {prompts}")
        for group in self.grid.group_size.values if self.grid.group_size else ():
            if group < 2:
                raise ValueError("grid.group_size.values: a group needs at least 2 completions")
        return self

    @property
    def root(self) -> Path:
        """The data root, absolute once `load_params` has read the file."""
        return Path(self.study.data_root)


def load_params(path: Path) -> Params:
    """Reads and checks a params file.

    Args:
        path: a YAML file.

    Returns:
        The params, with `study.data_root` made absolute (relative paths count from the file's folder).

    Raises:
        InputError: no such file, no YAML, an unknown key, a wrong type or an impossible value.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such params file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: expected a mapping of blocks (study, grid, prepare, ...)")
    return make_params(raw, path)


def make_params(raw: dict[str, Any], path: Path) -> Params:
    """Checks the values of a params file.

    Args:
        raw: the file's blocks, as YAML gives them.
        path: the file, written or not: messages name it, and `study.data_root` counts from its folder.

    Raises:
        InputError: an unknown key, a wrong type or an impossible value.
    """
    try:
        params = Params.model_validate(_with_tuples(raw))
    except ValidationError as error:
        raise InputError(f"{path}: {_sentence(error)}") from None
    root = (path.absolute().parent / params.study.data_root).resolve()
    return params.model_copy(update={"study": params.study.model_copy(update={"data_root": str(root)})})


def _with_tuples(value: Any) -> Any:
    """YAML has lists only; the strict models want tuples."""
    if isinstance(value, dict):
        return {key: _with_tuples(entry) for key, entry in value.items()}
    return tuple(_with_tuples(entry) for entry in value) if isinstance(value, list) else value


def _sentence(error: ValidationError) -> str:
    """The first problem of a validation error, as one sentence that names the key."""
    problem = error.errors()[0]
    tags = {"tiny", "hub", "arithmetic", "file"}
    key = ".".join(str(part) for part in problem["loc"] if part not in tags)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key}"
    if problem["type"] == "missing":
        return f"key {key} is missing"
    value = "" if problem["type"] == "value_error" else f" (found {problem['input']!r})"
    return f"{key}: {message}{value}" if key else f"{message}{value}"
