"""Rows as parquet files. pyarrow is imported when a file is touched, not before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tasks.study.errors import InputError
from tasks.study.manifests import atomic_path

if TYPE_CHECKING:
    import pyarrow as pa

Row = TypeVar("Row")


def schema_of(row_type: type) -> pa.Schema:
    """Columns of a dataclass, field by field; mappings are JSON text."""
    import pyarrow as pa

    types = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "dict[str, float]": pa.string()}
    return pa.schema([(field.name, types[str(field.type).removesuffix(" | None")]) for field in fields(row_type)])


def write_parquet(path: Path, rows: Iterable[dict[str, Any]], schema: pa.Schema) -> None:
    """Writes rows atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), temporary)


def read_rows(path: Path, row_type: type[Row], missing: str) -> list[Row]:
    """Reads rows of a dataclass; columns that came later (fields with a default) may be absent.

    Args:
        path: the file.
        row_type: a dataclass.
        missing: what the message says where there is no such file.

    Raises:
        InputError: there is no such file, it is not parquet, or a column is missing or unknown.
    """
    return [record_of(row, row_type, path) for row in read_parquet(path, missing)]


def record_of(row: dict[str, Any], row_type: type[Row], path: Path) -> Row:
    """A mapping as a dataclass.

    Raises:
        InputError: a field without a default is missing, or a key is no field; it is named, with the file.
    """
    entries = {entry.name: entry.default is MISSING for entry in fields(row_type)}  # type: ignore[arg-type]
    wrong = [name for name, needed in entries.items() if needed and name not in row] + sorted(row.keys() - entries)
    if wrong:
        raise InputError(f"{path}: expected the columns {', '.join(entries)}; {wrong[0]} is missing or not one of them")
    return row_type(**row)


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
