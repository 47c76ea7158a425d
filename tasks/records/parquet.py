"""Rows as parquet files. pyarrow is imported when a file is touched, not before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.study.errors import InputError
from tasks.study.manifests import atomic_path

if TYPE_CHECKING:
    import pyarrow as pa


def schema_of(row_type: type) -> pa.Schema:
    """Columns of a dataclass, field by field; mappings are JSON text."""
    import pyarrow as pa

    types = {"str": pa.string(), "str | None": pa.string(), "int": pa.int64(), "float": pa.float64()}
    types["dict[str, float]"] = pa.string()
    return pa.schema([(field.name, types[str(field.type)]) for field in fields(row_type)])


def write_parquet(path: Path, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> None:
    """Writes rows atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), temporary)


def read_parquet(path: Path, missing: str) -> list[dict[str, Any]]:
    """Reads rows.

    Args:
        path: the file.
        missing: what the message says where there is no such file.

    Raises:
        InputError: there is none, or it is not parquet.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_table(path).to_pylist())
    except (FileNotFoundError, pa.ArrowInvalid):
        raise InputError(f"{path}: {missing}") from None
