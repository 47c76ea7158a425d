"""The laws by name."""

from __future__ import annotations

from tasks.fit.laws import (
    additive,
    constant,
    floor,
    floor_shared,
    loglinear,
    pivot,
    power_k,
    reuse,
    saturating,
    sigmoid,
)
from tasks.fit.laws.forms import CurveLaw, LineLaw
from tasks.study.errors import InputError

Law = LineLaw | CurveLaw

_MODULES = (loglinear, saturating, pivot, power_k, constant, floor, floor_shared, sigmoid, additive, reuse)
LAWS: dict[str, Law] = {module.LAW.name: module.LAW for module in _MODULES}
# What an analysis of sizes compares; `reuse` is for the axis of tau.
SIZE_LAWS: tuple[str, ...] = tuple(name for name in LAWS if name != "reuse")


def law_named(name: str) -> Law:
    """Returns a law.

    Raises:
        InputError: there is none of that name.
    """
    if name not in LAWS:
        raise InputError(f"law {name!r} is unknown, expected one of {', '.join(sorted(LAWS))}")
    return LAWS[name]


def minimum_points(name: str | None) -> int:
    """Fewest points of a size that a law can use: 3 for those that fit every size a line or curve, also by default."""
    return 3 if name is None else law_named(name).minimum_points
