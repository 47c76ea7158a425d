"""Reading the fit stage's JSON and parquet files without the fit stage's code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.study.errors import InputError


def read_json(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Reads a file of records by key.

    Raises:
        InputError: there is no such file.
    """
    try:
        value: dict[str, list[dict[str, Any]]] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run `rlscale fit` first") from None
    return value


def read_columns(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Reads a parquet file as one array per column.

    Raises:
        InputError: there is no such file.
    """
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run `rlscale fit` first") from None
    return {name: np.asarray(table.column(name).to_numpy(zero_copy_only=False)) for name in table.column_names}
