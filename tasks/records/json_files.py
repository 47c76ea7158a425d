"""Typed records as files: JSON files whose keys are a dataclass's fields, parquet files whose columns are.

What `to_json` writes, `from_json` reads back as equal records. A number that does not exist (None, NaN, an infinity)
is null in the file; it is read as None where the field allows None, else as NaN. A key that is missing or unknown and
a value of another type are bad input, named by file and key.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from pathlib import Path
from types import NoneType
from typing import Any, ClassVar, Self, TypeVar, get_args, get_origin, get_type_hints

from tasks.study.errors import InputError
from tasks.study.manifests import write_json

Record = TypeVar("Record")


class JsonFile:
    """Base of a dataclass whose fields are the keys of the JSON file `NAME` in a stage's folder."""

    NAME: ClassVar[str]

    def write(self, folder: Path) -> None:
        """Writes the file atomically."""
        write_json(folder / self.NAME, to_json(self))

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads the file.

        Args:
            folder: the stage's folder; its name is the command that writes the file.

        Raises:
            InputError: there is no such file, or it is damaged.
        """
        path = folder / cls.NAME
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise _missing(path) from None
        except ValueError as error:
            raise InputError(f"{path}: not JSON ({error})") from None
        try:
            return from_json(value, cls)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None


class ParquetFile:
    """Base of a dataclass of numpy arrays, one per column of the parquet file `NAME` in a stage's folder."""

    NAME: ClassVar[str]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Reads the file's columns that are fields, see `read_columns`."""
        return read_columns(folder / cls.NAME, cls)


def read_columns(path: Path, kind: type[Record]) -> Record:
    """Reads the columns of a parquet file that are fields of `kind`, a dataclass of numpy arrays.

    Raises:
        InputError: there is no such file, or it lacks a column.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = _field_names(kind)
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise _missing(path) from None
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: not a parquet file ({error})") from None
    for name in names:
        if name not in table.column_names:
            raise InputError(f"{path}: no column {name}, found {', '.join(table.column_names)}")
    return kind(**{name: np.asarray(table.column(name).to_numpy(zero_copy_only=False)) for name in names})


def _missing(path: Path) -> InputError:
    return InputError(f"{path}: no such file; run `rlscale {path.parent.name}` first")


def _field_names(kind: type[Any]) -> list[str]:
    return [entry.name for entry in dataclasses.fields(kind)]


@functools.cache
def _field_types(kind: type[Any]) -> dict[str, Any]:
    return get_type_hints(kind)


def to_json(value: Any) -> Any:
    """Records as JSON values: dataclasses to dicts, numpy numbers to Python ones, NaN and infinities to null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: to_json(getattr(value, name)) for name in _field_names(type(value))}
    if isinstance(value, dict):
        return {str(key): to_json(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(entry) for entry in value]
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def from_json(value: Any, kind: type[Record]) -> Record:
    """A JSON object as the dataclass `kind`.

    Args:
        value: what `json.loads` returned.
        kind: a dataclass whose fields are str, bool, int, float, dataclasses, lists and dicts by name of these, or
            any of them or None.

    Raises:
        InputError: names the key and what was expected there.
    """
    decoded: Record = _decode(value, kind, "")
    return decoded


def _decode(value: Any, kind: Any, key: str) -> Any:
    """A JSON value as `kind`; `key` is its path in the file, empty at the top."""
    options = get_args(kind)
    if NoneType in options:
        (kind,) = (option for option in options if option is not NoneType)
        return None if value is None else _decode(value, kind, key)
    if get_origin(kind) is list:
        entries = _expect(value, list, "a list", key)
        return [_decode(entry, options[0], f"{key}[{index}]") for index, entry in enumerate(entries)]
    if get_origin(kind) is dict:
        named = _expect(value, dict, "an object", key)
        return {name: _decode(entry, options[1], f"{key}.{name}") for name, entry in named.items()}
    if dataclasses.is_dataclass(kind):
        return _decode_record(_expect(value, dict, "an object", key), kind, key)
    if kind is float:
        return math.nan if value is None else float(_expect(value, (int, float), "a number or null", key))
    return _expect(value, kind, {str: "a text", int: "a whole number", bool: "true or false"}[kind], key)


def _decode_record(value: dict[str, Any], kind: Any, key: str) -> Any:
    prefix = f"{key}." if key else ""
    types, names = _field_types(kind), _field_names(kind)
    for name in names:
        if name not in value:
            raise InputError(f"key {prefix}{name} is missing")
    for name in value:
        if name not in names:
            raise InputError(f"key {prefix}{name} is unknown, expected {', '.join(names)}")
    return kind(**{name: _decode(value[name], types[name], prefix + name) for name in names})


def _expect(value: Any, kind: Any, words: str, key: str) -> Any:
    """The value, refused unless it is of a type; true and false are no numbers."""
    if isinstance(value, bool) is not (kind is bool) or not isinstance(value, kind):
        raise InputError(f"{f'key {key}: ' if key else ''}expected {words}, found {json.dumps(value)[:60]}")
    return value
