"""A table's loss column as L in (0, 1]: shares of right answers turned round, losses of 0, losses that rise."""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Floats
from tasks.fit.data.table import Table
from tasks.imports.column_names import COLUMN_ALIASES
from tasks.imports.metric_choice import Scale, as_loss
from tasks.study.errors import InputError


def read_losses(
    table: Table, column: str, x: Floats, n: Floats, trials: Floats | None, scale: Scale
) -> tuple[Floats, list[str]]:
    """The losses of a table.

    Args:
        table: its rows [P].
        column: loss, or a share of right answers by name (accuracy, pass@1, ...) or by `scale`.
        x: resource of each row [P].
        n: size of each row [P].
        trials: graded answers behind each row [P], or None.
        scale: what the user says of the column.

    Returns:
        L [P] and what was converted. A loss of 0 becomes 0.5 / (trials + 1) where trials are known.

    Raises:
        InputError: a loss outside (0, 1], with the row, or losses that rise at every size like an accuracy.
    """
    values = table.numbers(column)
    notes: list[str] = []
    is_share = column.lower() in COLUMN_ALIASES["share"]
    if is_share or scale != Scale():
        kind = scale.kind or ("accuracy" if is_share and scale.reward is None else None)
        chosen = Scale(kind, scale.reward, scale.divide)
        values, words = as_loss(column, values, chosen, str(table.path))
        notes.append(f"loss = {words}")
    outside = np.flatnonzero((values > 1) | (values < 0))
    if len(outside):
        index = int(outside[0])
        hint = "; --divide NUMBER scales losses above 1" if values[index] > 1 else ""
        raise InputError(f"{table.where(index, column)}: expected a loss in (0, 1], found {values[index]:g}{hint}")
    zero = values == 0
    if zero.any() and trials is not None:
        values = np.where(zero, 0.5 / (trials + 1.0), values)
        notes.append(f"{zero.sum()} losses of 0 become 0.5 / (trials + 1)")
    elif zero.any():
        where = table.where(int(np.flatnonzero(zero)[0]), column)
        raise InputError(f"{where}: expected a loss in (0, 1], found 0; --trials COLUMN says of how many answers")
    if not is_share and scale == Scale() and column.lower() != "test_loss":
        _ask_if_rising(table, column, values, x, n)
    return values, notes


def _ask_if_rising(table: Table, column: str, loss: Floats, x: Floats, n: Floats) -> None:
    """A collapsed run makes one size's loss rise; at every size it is an accuracy."""
    rises = []
    for size in np.unique(n):
        rows = np.flatnonzero(n == size)
        rows = rows[np.argsort(x[rows], kind="stable")]
        third = max(1, len(rows) // 3)
        rises.append(len(rows) > 1 and loss[rows[-third:]].mean() > loss[rows[:third]].mean())
    if rises and all(rises):
        raise InputError(
            f"{table.path}: column {column} rises with X at every size: is it a share of right answers? give "
            "--accuracy, or --error-rate if it is a loss"
        )
