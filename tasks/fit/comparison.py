"""Two or more studies or tables side by side: their laws, k(N), losses at one X, and what differs between them.

Every source is fitted by the same law with draws of its own; a difference is that of independent draws, so its interval
holds the uncertainty of both sides. The first source is what the others are compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from tasks.fit.analysis import to_estimate
from tasks.fit.data.groups import PROTOCOL
from tasks.fit.data.measurements import Floats, Measurements
from tasks.fit.data.table import Table
from tasks.fit.laws import law_named
from tasks.fit.solver.estimate import Options, fit_law
from tasks.fit.uncertainty.inference import BootstrappedFit, coefficient_intervals, interval, k_intervals, with_draws
from tasks.records.fits import Estimate
from tasks.study.errors import InputError

_Quantities: TypeAlias = dict[str, tuple[float, Floats]]
# Params that say where and how a study runs, not what it measures.
_SCENERY = ("hardware", "study", "tracking", "checkpoints", "retries")


@dataclass(frozen=True)
class Source:
    """One study or table.

    Attributes:
        name: as it is printed.
        table: its rows.
        resources: its points by resource (`compute`, `data`, or a column's name) and group (variant).
        params: of a study, flattened (`train.group_size`); None for a table.
    """

    name: str
    table: Table
    resources: dict[str, dict[str, Measurements]]
    params: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Side:
    """What one source says.

    Attributes:
        source: its name.
        points: how many were fitted.
        runs: from how many runs.
        coefficients: of the law.
        k: learning efficiency by size's name.
        loss: mean loss at `Comparison.x` by size's name.
    """

    source: str
    points: int
    runs: int
    coefficients: dict[str, Estimate]
    k: dict[str, Estimate]
    loss: dict[str, Estimate]


@dataclass(frozen=True)
class Difference:
    """A source's number minus the first source's.

    Attributes:
        source: the source that is compared with the first one.
        quantity: a coefficient, `k of 7B` or `loss of 7B`.
        first: the first source's number.
        value: the source's number.
        difference: value minus first, with the 95 % interval of independent draws.
        clear: whether the interval leaves 0 out.
    """

    source: str
    quantity: str
    first: float
    value: float
    difference: Estimate
    clear: bool


@dataclass(frozen=True)
class Comparison:
    """All sources on one group along one resource.

    Attributes:
        group: name of the group.
        resource: what X is.
        law: fitted to every source.
        x: the resource at which losses are compared: given, or the largest that every source has reached.
        sides: one for each source.
        differences: from the first source, those of every other.
    """

    group: str
    resource: str
    law: str
    x: float
    sides: list[Side]
    differences: list[Difference]


def compare(sources: Sequence[Source], law: str, options: Options, x: float | None = None) -> list[Comparison]:
    """Compares every group that all sources have, along every resource that all have.

    Where each source has one group only, these are compared whatever their names.

    Args:
        sources: two or more.
        law: name of the law.
        options: of the fits; every source draws with a seed of its own.
        x: where losses are compared; None: the largest X that every source has reached.

    Raises:
        InputError: fewer than two sources, no resource or group in common, or points that the law cannot take.
    """
    if len(sources) < 2:
        raise InputError("compare: give two or more studies or tables")
    shared = [name for name in sources[0].resources if all(name in source.resources for source in sources)]
    if not shared:
        listed = "; ".join(f"{source.name}: {', '.join(source.resources)}" for source in sources)
        raise InputError(f"compare: no resource in common ({listed})")
    names = [source.name for source in sources]
    return [
        _compared(group, resource, names, points, law, options, x)
        for resource in shared
        for group, points in _in_common({source.name: source.resources[resource] for source in sources})
    ]


def _in_common(groups: Mapping[str, Mapping[str, Measurements]]) -> list[tuple[str, list[Measurements]]]:
    """Groups that all sources have, with the points of each source."""
    first, *others = groups.values()
    if common := [name for name in first if all(name in other for other in others)]:
        return [(name, [own[name] for own in groups.values()]) for name in common]
    if any(len(own) > 1 for own in groups.values()):
        listed = "; ".join(f"{name}: {', '.join(own)}" for name, own in groups.items())
        raise InputError(f"compare: no group in common ({listed})")
    named = " / ".join(dict.fromkeys(next(iter(own)) for own in groups.values()))
    return [(named, [next(iter(own.values())) for own in groups.values()])]


def _compared(
    group: str, resource: str, names: list[str], points: list[Measurements], law: str, options: Options, x: float | None
) -> Comparison:
    fits = [
        with_draws(fit_law(part, law_named(law), replace(options, seed=options.seed + index)))
        for index, part in enumerate(points)
    ]
    at = x or min(float(part.resource.max()) for part in points)
    sides = [_side(name, fit, at) for name, fit in zip(names, fits, strict=True)]
    first, *others = ((side, _quantities(fit, at)) for side, fit in zip(sides, fits, strict=True))
    differences = [_difference(quantity, first, own) for own in others for quantity in first[1] if quantity in own[1]]
    return Comparison(group, resource, law, at, sides, differences)


def _quantities(fit: BootstrappedFit, x: float) -> _Quantities:
    """Every number that two sources may share: value and draws [B]."""
    points, values = fit.result.points, fit.result.parameters.coefficients()
    drawn = fit.draws.coefficients()
    out = {name: (float(value), np.asarray(drawn[name])) for name, value in values.items() if np.ndim(value) == 0}
    sizes, place = points.sizes, np.full(len(points.sizes), np.log10(x))
    k, loss = fit.result.parameters.k(sizes), fit.result.parameters.predict(sizes, place)
    k_draws, loss_draws = fit.draws.k(sizes), fit.draws.predict(sizes, place)
    for index, size in enumerate(sizes):
        name = points.label(float(size))
        out[f"k of {name}"] = (float(k[index]), k_draws[:, index])
        out[f"loss of {name}"] = (min(float(10.0 ** loss[index]), 1.0), np.minimum(10.0 ** loss_draws[:, index], 1.0))
    return out


def _difference(quantity: str, first: tuple[Side, _Quantities], own: tuple[Side, _Quantities]) -> Difference:
    """A number's difference; without an interval where one side's is open."""
    (_, before), (side, after) = first, own
    value = after[quantity][0] - before[quantity][0]
    found = to_estimate(interval(value, after[quantity][1] - before[quantity][1]))
    ends = [part.coefficients[quantity] for part, _ in (first, own) if quantity in part.coefficients]
    if any(end.low is None or end.high is None for end in ends):
        found = Estimate(value, None, None)
    clear = found.low is not None and found.high is not None and (found.low > 0 or found.high < 0)
    return Difference(side.source, quantity, before[quantity][0], after[quantity][0], found, clear)


def _side(name: str, fit: BootstrappedFit, x: float) -> Side:
    points = fit.result.points
    sizes, labels = points.sizes, [points.label(float(size)) for size in points.sizes]
    k = dict(zip(labels, map(to_estimate, k_intervals(fit, sizes)), strict=True))
    quantities = _quantities(fit, x)
    loss = {label: to_estimate(interval(*quantities[f"loss of {label}"])) for label in labels}
    coefficients = {name: to_estimate(value) for name, value in coefficient_intervals(fit).items()}
    return Side(name, len(points), len(points.runs), coefficients, k, loss)


def protocol_marks(sources: Sequence[Source]) -> list[str]:
    """What was measured differently, in words: protocol columns of the tables, and the problems of studies."""
    marks = []
    for column in PROTOCOL:
        found = {
            source.name: ", ".join(sorted({str(value) for value in source.table.values[column]}))
            for source in sources
            if column in source.table.values
        }
        if len(set(found.values())) > 1:
            marks.append(f"{column} differs ({', '.join(f'{name}: {value}' for name, value in found.items())})")
    problems = [row[0] for row in params_differences(sources) if row[0].startswith("prepare.")]
    if problems:
        marks.append(f"the problems differ ({', '.join(problems)})")
    without = [source.name for source in sources if not set(PROTOCOL) <= set(source.table.values)]
    if without:
        marks.append(f"{', '.join(without)}: no protocol in the rows, so whether losses are of one kind is not known")
    return marks


def params_differences(sources: Sequence[Source]) -> list[tuple[str, ...]]:
    """Keys of params whose values differ between the studies among the sources: key, then each study's value."""
    studies = [source.params for source in sources if source.params is not None]
    keys = list(dict.fromkeys(key for params in studies for key in params))
    rows = [(key, *(str(params.get(key, "–")) for params in studies)) for key in keys]
    return [row for row in rows if len(set(row[1:])) > 1 and row[0].split(".")[0] not in _SCENERY]


def flattened(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested params as `train.group_size: 8`; lists stay whole."""
    out: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        out |= flattened(value, f"{name}.") if isinstance(value, Mapping) and value else {name: value}
    return out
