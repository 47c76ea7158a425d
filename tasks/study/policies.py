"""The policies of a study: the initial models of the grid and the final policy of every run, with what scores them."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.study.errors import InputError
from tasks.study.grid import Run, expand_grid
from tasks.study.params import Benchmark, Params, Variant

HELDOUT = "heldout"
"""Name of the held-out set among the benchmarks."""


@dataclass(frozen=True)
class StudyPolicy:
    """A policy that the study evaluates.

    Attributes:
        name: the run id, or `initial-<model>`; names the rows of `scores.parquet`.
        size: model size; policies of one size share an architecture, so one engine serves them all.
        variant: base or instruct; decides how prompts are rendered.
        model: name of the initial model: its own, or the one its run started from.
        run: the run whose final policy it is, None for an initial model.
        benchmarks: the sets it is evaluated on, the held-out set first.
    """

    name: str
    size: str
    variant: Variant
    model: str
    run: Run | None
    benchmarks: tuple[str, ...]


def list_policies(params: Params) -> list[StudyPolicy]:
    """Initial models first, then the final policies of the runs, in the order of the grid."""
    runs, benchmarks = expand_grid(params), benchmark_names(params)
    initial = [StudyPolicy(initial_name(run.model), run.size, run.variant, run.model, None, benchmarks) for run in runs]
    final = [StudyPolicy(run.run_id, run.size, run.variant, run.model, run, benchmarks) for run in runs]
    return [*dict.fromkeys(initial), *final]


def initial_name(model: str) -> str:
    """Name of an initial model among the policies."""
    return f"initial-{model}"


def benchmark_names(params: Params) -> tuple[str, ...]:
    """The held-out set and the benchmarks of the params file, in order."""
    return (HELDOUT, *(benchmark.name for benchmark in params.prepare.benchmarks))


def find_benchmark(params: Params, name: str) -> Benchmark | None:
    """A benchmark's entry in the params, None for the held-out set.

    Raises:
        InputError: the params file has no such set.
    """
    if name not in benchmark_names(params):
        raise InputError(f"benchmark {name!r} is not in the params file; it has {', '.join(benchmark_names(params))}")
    return next((benchmark for benchmark in params.prepare.benchmarks if benchmark.name == name), None)
