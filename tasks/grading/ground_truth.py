"""Gold answers as text: what stands in `reward_model.ground_truth` of a data file, whatever its shape."""

from __future__ import annotations

import json
from typing import Any

from tasks.study.errors import InputError


def ground_truth_text(value: Any) -> str:
    """Returns a gold answer as the text scorers read: text as it is, numbers as text, structures as JSON.

    Args:
        value: as a parquet reader gives it: str, int, float, or nested dicts, lists and arrays (the puzzle grids).

    Raises:
        InputError: the value has no text form.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    try:
        return json.dumps(_plain(value), ensure_ascii=False)
    except TypeError as error:
        raise InputError(f"ground_truth of type {type(value).__name__} has no text form: {error}") from error


def _plain(value: Any) -> Any:
    """Turns arrays (anything with `tolist`) and tuples into lists, all the way down."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
