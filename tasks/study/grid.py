"""The grid of experiments: `Run` is one of them, `expand_grid` lists them in a stable order.

A run's id hashes scientific values only: what is trained, on how much, with which objective and seed. Hardware,
paths, trackers and checkpoint intervals never enter it, so an id means the same on a laptop and on a cluster. Its
number of steps enters where it is not the study's: the curriculum is cut for `train.steps`, so that a run of fewer
steps is the beginning of a longer one, but it ends elsewhere and has an id of its own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from tasks.study.errors import InputError
from tasks.study.manifests import canonical_json, digest_text
from tasks.study.params import Grid, HubModel, Params, TinyModel, Variant


@dataclass(frozen=True)
class Run:
    """One experiment of the grid.

    Attributes:
        run_id: e.g. `base-56k-tau1-g8-s0-1a2b3c4d`; readable axes and a hash of all scientific values.
        size: name of the model size, as in `pretrain.family.models`.
        variant: base or instruct.
        seed: seed of sampling (the data order is the curriculum's, the initial weights are the checkpoint's).
        model_seed: seed of the initial model, where every seed has one of its own (`pretrain.family.seeds`).
        tau: reuse factor, times each unique prompt is seen.
        group_size: completions per prompt, G.
        steps: how many it is planned to make, at most `train.steps`.
    """

    run_id: str
    size: str
    variant: Variant
    seed: int
    tau: int
    group_size: int
    steps: int
    model_seed: int | None = None

    @property
    def model(self) -> str:
        """Name of the initial checkpoint's folder under `data/pretrain/`."""
        return str(ModelName(self.size, self.variant, self.model_seed))


@dataclass(frozen=True)
class ModelName:
    """Name of an initial model, `<size>-<variant>`, with `-s<seed>` where every seed has one of its own."""

    size: str
    variant: Variant
    seed: int | None = None

    def __str__(self) -> str:
        return f"{self.size}-{self.variant}" + ("" if self.seed is None else f"-s{self.seed}")

    @classmethod
    def parse(cls, text: str) -> ModelName:
        """Reads a name; sizes hold no hyphen."""
        size, variant, *seed = text.split("-", 2)
        return cls(size, "base" if variant == "base" else "instruct", int(seed[0].removeprefix("s")) if seed else None)

    @property
    def base(self) -> str:
        """Name of the base model of the same size and seed."""
        return str(replace(self, variant="base"))


def expand_grid(params: Params) -> list[Run]:
    """Lists the runs: the scale axis (with what `grid.runs` says of it), the reuse axis, the group-size axis.

    Raises:
        InputError: two cells of the grid are one experiment.
    """
    grid, group, steps = params.grid, params.train.group_size, params.train.steps
    runs = [_run(params, *cell, 1, group) for cell in _scale_cells(grid, steps)]
    if reuse := grid.reuse:
        cells = itertools.product(grid.variants, reuse.factors)
        runs += [_run(params, reuse.size, variant, reuse.seed, steps, tau, group) for variant, tau in cells]
    if axis := grid.group_size:
        pairs = itertools.product(grid.variants, axis.values)
        runs += [_run(params, axis.size, variant, axis.seed, steps, 1, value) for variant, value in pairs]
    run_ids: set[str] = set()
    for run in runs:
        if run.run_id in run_ids:
            raise InputError(f"grid: two runs have one id, {run.run_id}; a value is listed twice on one of its axes")
        run_ids.add(run.run_id)
    return runs


def longest_first(params: Params, runs: list[Run]) -> list[Run]:
    """Orders runs by falling model size, so that no long one is left for the end while other workers idle."""
    models: Sequence[TinyModel | HubModel] = params.pretrain.family.models
    ranks = {model.name: index for index, model in enumerate(models)}
    return sorted(runs, key=lambda run: -ranks[run.size])


def model_spec(params: Params, name: str) -> tuple[TinyModel | HubModel, Variant]:
    """The family's entry and the variant of an initial model."""
    parsed = ModelName.parse(name)
    models: Sequence[TinyModel | HubModel] = params.pretrain.family.models
    return next(model for model in models if model.name == parsed.size), parsed.variant


def find_run(params: Params, run_id: str) -> Run:
    """Returns the run with this id, or the only one whose id starts so.

    Raises:
        InputError: no run, or more than one, matches.
    """
    runs = expand_grid(params)
    matches = [run for run in runs if run.run_id == run_id] or [run for run in runs if run.run_id.startswith(run_id)]
    if len(matches) != 1:
        raise InputError(f"run id {run_id!r} matches {len(matches)} of the grid's {len(runs)} runs; expected one")
    return matches[0]


def _scale_cells(grid: Grid, steps: int) -> Iterator[tuple[str, Variant, int, int]]:
    """Size, variant, seed and steps of the runs of the scale axis."""
    for size, variant in itertools.product(grid.sizes, grid.variants):
        entries = [entry for entry in grid.runs if (entry.size, entry.variant) == (size, variant)]
        for planned, seeds in [(entry.steps, entry.seeds) for entry in entries] or [(steps, grid.seeds)]:
            yield from ((size, variant, seed, planned) for seed in seeds)


def _run(params: Params, size: str, variant: Variant, seed: int, steps: int, tau: int, group_size: int) -> Run:
    family = params.pretrain.family
    own_model = family.kind == "tiny" and family.seeds == "per_run"
    run = Run("", size, variant, seed, tau, group_size, steps, seed if own_model else None)
    settings = scientific_settings(params, run)
    del settings["run_id"]
    cut = "" if steps == params.train.steps else f"-{steps}steps"
    digest = digest_text(canonical_json(settings))[:8]
    return replace(run, run_id=f"{variant}-{size}-tau{tau}-g{group_size}-s{seed}{cut}-{digest}")


def scientific_settings(params: Params, run: Run) -> dict[str, object]:
    """Everything of the params that decides a run's result: the train block and the run's axes."""
    axes = asdict(run)
    del axes["model_seed"]  # the initial checkpoint's digest is in the fingerprint
    if run.steps == params.train.steps:
        del axes["steps"]
    return {"train": params.train.model_dump(mode="json", exclude={"group_size"})} | axes
