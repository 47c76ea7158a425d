"""`Params`, one study whole, and the blocks that are short: `study`, `grid`, `evaluate`, `fit`, `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from tasks.study.params.block import ConfigBlock, Name, Variant
from tasks.study.params.hardware import Hardware, Tracking
from tasks.study.params.models import Pretrain
from tasks.study.params.problems import Prepare
from tasks.study.params.training import Checkpoints, Train


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


class RunsEntry(ConfigBlock):
    """Runs of one size and variant on the scale axis that have seeds and a number of steps of their own."""

    size: Name
    variant: Variant
    steps: PositiveInt = Field(description="At most train.steps: the first steps of the same curriculum.")
    seeds: tuple[int, ...] = Field(min_length=1)


class Grid(ConfigBlock):
    """Which experiments are run: sizes x variants x seeds, the reuse axis and the optional group-size axis.

    Entries of `runs` stand in for the seeds of their size and variant; other sizes keep `seeds` and `train.steps`.
    """

    added: ClassVar[frozenset[str]] = frozenset({"runs"})
    sizes: tuple[Name, ...] = Field(min_length=1)
    variants: tuple[Variant, ...] = Field(min_length=1)
    seeds: tuple[int, ...] = Field(min_length=1)
    reuse: ReuseAxis | None = None
    group_size: GroupAxis | None = None
    runs: tuple[RunsEntry, ...] = ()


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
        for key, named in self.hardware.sizes_named().items():
            for size in sorted(named - sizes):
                raise ValueError(
                    f"hardware.{key} names size {size!r}, but pretrain.family.models has only {sorted(sizes)}"
                )
        prompts = self.train.steps * self.train.batch
        for tau in self.grid.reuse.factors if self.grid.reuse else ():
            if prompts % tau:
                raise ValueError(f"grid.reuse.factors: {tau} does not divide train.steps x train.batch = {prompts}")
        for group in self.grid.group_size.values if self.grid.group_size else ():
            if group < 2:
                raise ValueError("grid.group_size.values: a group needs at least 2 completions")
        for entry in self.grid.runs:
            where = f"grid.runs: {entry.size} {entry.variant}"
            if entry.size not in self.grid.sizes or entry.variant not in self.grid.variants:
                raise ValueError(f"{where} is not among grid.sizes and grid.variants")
            if entry.steps > self.train.steps:
                raise ValueError(f"{where}: {entry.steps} steps, expected at most train.steps = {self.train.steps}")
        return self

    @property
    def root(self) -> Path:
        """The data root, absolute once `load_params` has read the file."""
        return Path(self.study.data_root)
