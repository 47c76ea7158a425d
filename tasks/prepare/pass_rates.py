"""Measured pass rates: one JSON line per problem, written as they are measured and read back by `prepare`."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.errors import InputError


def read_pass_rates(path: str | None) -> dict[str, float]:
    """Reads pass rates by problem id; an unfinished last line is left out.

    Raises:
        InputError: a line is no pass-rate record.
    """
    if path is None or not Path(path).is_file():
        return {}
    text = Path(path).read_text(encoding="utf-8")
    rates = {}
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), start=1):
        try:
            record = json.loads(line)
            rates[str(record["problem_id"])] = record["right"] / record["samples"]
        except (ValueError, TypeError, KeyError, ZeroDivisionError):
            raise InputError(f"{path}: line {number} is not a pass-rate record") from None
    return rates
