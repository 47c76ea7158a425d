"""Text tables as people export them: any usual separator, decimal commas, comment lines, trailing separators."""

from __future__ import annotations

import csv
import io
import itertools
import re
from dataclasses import dataclass
from pathlib import Path

from tasks.study.errors import InputError

SEPARATORS = (",", ";", "\t", "|")
_RULE = re.compile(r"\s*:?-+:?\s*")
"""A cell of the line under a Markdown table's header."""
_DECIMAL_COMMA = re.compile(r"\s*[+-]?\d+,\d+(?:[eE][+-]?\d+)?\s*")
_THREE_DIGITS = re.compile(r"\s*[+-]?\d{1,3},\d{3}\s*")
_THOUSANDS = re.compile(r"\s*[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?\s*")
_SAMPLED_ROWS = 1000


@dataclass(frozen=True)
class TextTable:
    """A text table's cells.

    Attributes:
        cells: column -> text of each row, decimal points whatever the file had.
        lines: 1-based line of each row.
        notes: what was read otherwise than it stands.
    """

    cells: dict[str, list[str]]
    lines: list[int]
    notes: tuple[str, ...] = ()


def header_of(text: str) -> list[str]:
    """The names in the first line that is no comment; [] where there is none."""
    line = next((line for line in io.StringIO(text) if _is_content(line)), "")
    return [name.strip() for name in next(csv.reader([line], delimiter=separator_of(line)), [])]


def separator_of(line: str) -> str:
    """The separator that a header holds most often; without any, spaces between three names or more, or a comma."""
    counts = [line.count(separator) for separator in SEPARATORS]
    if not any(counts):
        return " " if len(line.split()) > 2 else ","
    return SEPARATORS[counts.index(max(counts))]


def read_cells(path: Path, text: str) -> dict[str, list[str]]:
    """The cells of `read_text_table` alone."""
    return read_text_table(path, text).cells


def read_text_table(path: Path, text: str) -> TextTable:
    """Reads a table with a header; lines that are empty or begin with # are passed over. Markdown tables are read too.

    Raises:
        InputError: no header, two columns of one name, a row with too few or too many fields, or numbers like 1,234
            that may be read in two ways.
    """
    separator = separator_of(next((line for line in io.StringIO(text) if _is_content(line)), ""))
    if separator == "|":
        text = _without_outer_bars(text)
    reader = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=separator == " ")
    lines: list[int] = []
    try:
        header = next((row for row in reader if _is_row(row)), None)
        if header is None:
            raise InputError(f"{path}: empty; expected a header line and rows")
        names = _names(path, header, separator)
        columns: list[list[str]] = [[] for _ in names]
        for row in reader:
            if not _is_row(row):
                continue
            if len(row) != len(names):
                row = _fitted(path, row, len(names), reader.line_num)
            lines.append(reader.line_num)
            for column, value in zip(columns, row, strict=True):
                column.append(value)
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: not a table ({error})") from None
    notes = _read_commas(path, names, columns, separator)
    return TextTable(dict(zip(names, columns, strict=True)), lines, notes)


def _is_content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _without_outer_bars(text: str) -> str:
    """A Markdown table's lines without their outer bars, its rule left empty; other text as it is."""
    lines = text.splitlines()
    if not all(line.strip().startswith("|") and line.strip().endswith("|") for line in lines if line.strip()):
        return text
    bare = (line.strip().strip("|") for line in lines)
    return "\n".join("" if all(map(_RULE.fullmatch, line.split("|"))) else line for line in bare) + "\n"


def _is_row(row: list[str]) -> bool:
    return bool(row) and not row[0].lstrip().startswith("#") and any(map(str.strip, row))


def _names(path: Path, header: list[str], separator: str) -> list[str]:
    names = [name.strip() for name in header]
    while names and not names[-1]:
        names.pop()
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{path}: the header names {', '.join(map(repr, twice))} twice")
    if "" in names:
        names = [name or f"column {number}" for number, name in enumerate(names, start=1)]
    return names


def _fitted(path: Path, row: list[str], width: int, line: int) -> list[str]:
    """A row without empty fields at its end."""
    if len(row) > width and not any(map(str.strip, row[width:])):
        return row[:width]
    raise InputError(f"{path}: line {line} has {len(row)} fields, expected {width}")


def _read_commas(path: Path, names: list[str], columns: list[list[str]], separator: str) -> tuple[str, ...]:
    """Turns decimal commas into points and takes thousands separators out, in place; returns what was done.

    A column whose cells all end in a percent sign becomes hundredths.
    """
    notes = []
    for name, column in zip(names, columns, strict=True):
        if column and all(value.rstrip().endswith("%") for value in column if value.strip()):
            column[:] = [f"{value.strip().rstrip('%').strip()}e-2" if value.strip() else value for value in column]
            notes.append(f"column {name}: percent signs taken as hundredths")
        sample = [value for value in itertools.islice(column, _SAMPLED_ROWS) if "," in value]
        if not sample:
            continue
        if separator == ",":
            if all(map(_THOUSANDS.fullmatch, sample)):
                column[:] = [value.replace(",", "") for value in column]
                notes.append(f"column {name}: commas taken as thousands separators")
        elif all(map(_DECIMAL_COMMA.fullmatch, sample)):
            if all(map(_THREE_DIGITS.fullmatch, sample)) and not any(cell.lstrip().startswith("0,") for cell in sample):
                found = sample[0].strip()
                raise InputError(
                    f"{path}: column {name}: {found} may be a decimal number or thousands; write it with a point"
                )
            column[:] = [value.replace(",", ".") for value in column]
            notes.append(f"column {name}: commas taken as decimal commas")
        elif all(map(_THOUSANDS.fullmatch, sample)):
            column[:] = [value.replace(",", "") for value in column]
            notes.append(f"column {name}: commas taken as thousands separators")
    return tuple(notes)
