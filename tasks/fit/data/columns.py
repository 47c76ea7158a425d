"""Which column of a table is what: named on the command line, or recognized by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tasks.costs.units import parse_count
from tasks.fit.data.table import Table
from tasks.imports.column_names import COLUMN_ALIASES
from tasks.imports.points import ImportOptions
from tasks.study.errors import InputError


@dataclass(frozen=True)
class Columns:
    """Names of columns (None: recognized from `COLUMN_ALIASES`) and how their values are read.

    Attributes:
        n: model size.
        x: resource.
        loss: test loss, or a share of right answers.
        run: run; always told apart together with N and the group.
        trials: graded answers.
        group: splitting column.
        step: training step.
        n_unit: what a size of 1 stands for, parameters; None: 1, and sizes that look like billions are asked about.
        drop_missing: leave out rows without N or X instead of refusing them.
        without: sizes, by label or number, that are left out.
        log: what the user says of the loss, and of logs.
    """

    n: str | None = None
    x: str | None = None
    loss: str | None = None
    run: str | None = None
    trials: str | None = None
    group: str | None = None
    step: str | None = None
    n_unit: float | None = None
    drop_missing: bool = False
    without: tuple[str, ...] = ()
    log: ImportOptions = field(default_factory=ImportOptions)


NAMED = ("n", "x", "loss", "run", "trials", "group", "step")
WORDS = {
    "n": "the model size N in parameters (--n-column)",
    "x": "the resource X: compute, prompts or tokens so far (--x-column)",
    "loss": "the test loss or the share of right answers (--loss)",
}


_ALIKE = {
    "n": re.compile("param|size|model", re.IGNORECASE),
    "x": re.compile("flop|compute|token|sample|prompt|problem|hour|cost", re.IGNORECASE),
    "loss": re.compile("loss|acc|score|pass|error|reward|mean@", re.IGNORECASE),
}
"""What in a column's name suggests it for an option, for messages."""


def resolve(table: Table, columns: Columns) -> list[Columns]:
    """Fills in column names: one result for each resource column found, or for the named one.

    Raises:
        InputError: a named column is missing, or a needed one is not recognized.
    """
    names = {option: getattr(columns, option) for option in NAMED}
    for option, name in names.items():
        if name is not None and name not in table.values:
            raise InputError(f"{table.path}: no column {name!r} (--{option}), found {', '.join(table.values)}")
    for option in NAMED:
        if names[option] is None:
            names[option] = next(iter(_recognized(table, option)), None)
    names["loss"] = columns.loss or _loss_column(table)
    resources = [columns.x] if columns.x else _recognized(table, "x")
    # Without compute or prompts the tokens so far are X, and without those the steps.
    resources = resources or _recognized(table, "tokens")[:1] or [name for name in (names["step"],) if name]
    names["x"] = next(iter(resources), None)
    for option, words in WORDS.items():
        if names[option] is None:
            raise InputError(_missing(table, option, words))
    return [replace(columns, **{**names, "x": name}) for name in resources]


def _recognized(table: Table, option: str) -> list[str]:
    """The table's columns that an option's aliases name, in the order of the aliases."""
    by_lower = {name.lower(): name for name in reversed(table.values)}
    found = [by_lower[alias] for alias in COLUMN_ALIASES[option] if alias in by_lower]
    if option == "n":
        found = [name for name in found if _holds_sizes(table.values[name])]
    return found


def _holds_sizes(values: Sequence[object]) -> bool:
    """Whether a column's first entry reads as a size: a family's name does not."""
    try:
        return parse_count(str(next(value for value in values if str(value).strip()))) > 0
    except (StopIteration, ValueError):
        return False


def _loss_column(table: Table) -> str | None:
    """test_loss; else a share of right answers: a `loss` beside it is the trainer's objective; else loss."""
    losses, shares = _recognized(table, "loss"), _recognized(table, "share")
    if losses and losses[0].lower() == "test_loss":
        return losses[0]
    return next(iter(shares + losses), None)


def _missing(table: Table, option: str, words: str) -> str:
    aliases = COLUMN_ALIASES[option] + (COLUMN_ALIASES["share"] if option == "loss" else ())
    found = ", ".join(table.values)
    hint = ""
    if len(table.values) == 1:
        hint = "; with one column the separator was not recognized (comma, semicolon, tab and | are)"
    elif alike := [name for name in table.values if _ALIKE[option].search(name)]:
        hint = f"; {' or '.join(alike)} may be it"
    return f"{table.path}: no column for {words}; recognized are {', '.join(aliases)}; found {found}{hint}"
