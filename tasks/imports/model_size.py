"""The model size N of a run: given, from its settings, or read off its name or path."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tasks.costs.units import parse_count
from tasks.imports.logged_run import LoggedRun
from tasks.study.errors import InputError

SIZE_SETTINGS = ("n_params", "model_params", "params", "parameter_count", "num_parameters", "model_size", "size")
MODEL_SETTINGS = ("model", "model_name", "model_path", "model.path", "base_model", "policy", "Model Size")
SOURCES = ("name", "path", "column")
_IN_NAME = re.compile(r"(?<![\d.xX])(\d+(?:\.\d+)?)\s?([mMbB])(?![A-Za-z0-9])")
_COUNT = re.compile(r"\s*\d{4,}(?:\.\d*)?\s*|\s*\d(?:\.\d+)?e\+?\d+\s*")
_WHOLE = re.compile(r"\s*\d+(?:\.\d+)?\s?[kKmMbB]\s*")


def size_in(text: str) -> set[float]:
    """The sizes that a name holds: `Qwen2.5-7B` -> {7e9}, `qwen0.5b` -> {5e8}; a k only in `394k`."""
    if _WHOLE.fullmatch(text):
        return {parse_count(text.replace(" ", ""))}
    if _COUNT.fullmatch(text):
        return {float(text)}
    return {parse_count(f"{number}{letter}") for number, letter in _IN_NAME.findall(text)}


def size_of(run: LoggedRun, given: str | None = None, source: str | None = None) -> tuple[float, str]:
    """N of a run and where it is from.

    Args:
        run: the run.
        given: `--size`, for all runs of the call.
        source: `--size-from`: name, path or column; None: settings, then the name, then the path.

    Raises:
        InputError: no size is found, or several.
    """
    if given is not None:
        return _parsed(given, "--size"), "--size"
    if source is not None and source not in SOURCES:
        raise InputError(f"--size-from {source!r}: expected {', '.join(SOURCES)}")
    for word, texts in _places(run):
        if source is not None and word.split()[0] != source:
            continue
        for text in texts:
            sizes = size_in(text)
            if len(sizes) == 1:
                return sizes.pop(), f"{word} {text!r}"
            if sizes:
                listed = ", ".join(f"{size:g}" for size in sorted(sizes))
                raise InputError(
                    f"{run.source}: run {run.name}: {word} {text!r} holds several sizes ({listed}); give --size"
                )
    raise InputError(
        f"{run.source}: run {run.name}: the model size is not known: no setting, name or path like 7B; "
        "give --size, e.g. --size 7B"
    )


def _places(run: LoggedRun) -> Iterable[tuple[str, list[str]]]:
    for key in SIZE_SETTINGS:
        if key in run.settings:
            yield f"column {key}", [run.settings[key]]
        elif key in run.columns and len(values := {float(value) for value in run.columns[key] if value > 0}) == 1:
            yield f"column {key}", [repr(values.pop())]
    yield "column model", [run.settings[key] for key in MODEL_SETTINGS if key in run.settings]
    yield "name", [run.name]
    parts = Path(run.source).parts
    yield "path", list(reversed(parts))


def _parsed(text: str, option: str) -> float:
    try:
        value = parse_count(text)
    except ValueError:
        value = 0.0
    if value <= 0:
        raise InputError(f"{option} {text!r}: expected a model size, e.g. 7e9, 7B or 394k")
    return value
