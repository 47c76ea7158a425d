"""The grid of experiments: `Run` is one of them, `expand_grid` lists them in a stable order.

A run's id hashes scientific values only: what is trained, on how much, with which objective and seed. Hardware,
paths, trackers and checkpoint intervals never enter it, so an id means the same on a laptop and on a cluster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.study.errors import InputError
from tasks.study.manifests import canonical_json, digest_text
from tasks.study.params import HubModel, Params, TinyModel, Variant


@dataclass(frozen=True)
class Run:
    """One experiment of the grid.

    Attributes:
        run_id: e.g. `base-56k-tau1-g8-s0-1a2b3c4d`; readable axes and a hash of all scientific values.
        size: name of the model size, as in `pretrain.family.models`.
        variant: base or instruct.
        seed: seed of sampling (the data order is the curriculum's, the initial weights are the checkpoint's).
        tau: reuse factor, times each unique prompt is seen.
        group_size: completions per prompt, G.
    """

    run_id: str
    size: str
    variant: Variant
    seed: int
    tau: int
    group_size: int

    @property
    def model(self) -> str:
        """Name of the initial checkpoint's folder under `data/pretrain/`."""
        return f"{self.size}-{self.variant}"


def expand_grid(params: Params) -> list[Run]:
    """Lists the runs: the scale axis, then the reuse axis, then the group-size axis.

    Raises:
        InputError: two cells of the grid are one experiment.
    """
    grid, group = params.grid, params.train.group_size
    cells = [(size, variant, seed, 1, group) for size in grid.sizes for variant in grid.variants for seed in grid.seeds]
    if grid.reuse:
        cells += [
            (grid.reuse.size, v, grid.reuse.seed, tau, group) for v in grid.variants for tau in grid.reuse.factors
        ]
    if grid.group_size:
        cells += [
            (grid.group_size.size, v, grid.group_size.seed, 1, g) for v in grid.variants for g in grid.group_size.values
        ]
    runs = [_run(params, *cell) for cell in cells]
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
    """The family's entry and the variant of an initial model `<size>-<variant>`."""
    size, variant = name.rsplit("-", 1)
    models: Sequence[TinyModel | HubModel] = params.pretrain.family.models
    return next(model for model in models if model.name == size), "base" if variant == "base" else "instruct"


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


def _run(params: Params, size: str, variant: Variant, seed: int, tau: int, group_size: int) -> Run:
    axes = {"size": size, "variant": variant, "seed": seed, "tau": tau, "group_size": group_size}
    science = shared_scientific_settings(params) | axes
    run_id = f"{variant}-{size}-tau{tau}-g{group_size}-s{seed}-{digest_text(canonical_json(science))[:8]}"
    return Run(run_id, size, variant, seed, tau, group_size)


def shared_scientific_settings(params: Params) -> dict[str, object]:
    """The settings that all runs of a study share and that decide their results."""
    return {"train": params.train.model_dump(mode="json", exclude={"group_size"})}
