"""Scalars of TensorBoard event files, through the package tensorboard."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tasks.imports.logged_run import ColumnBuilder, LoggedRun
from tasks.study.errors import InputError


def is_event_file(path: Path) -> bool:
    """Whether a file has the name of an event file."""
    return ".tfevents." in path.name


def read_event_file(path: Path) -> list[LoggedRun]:
    """One run with the file's scalars, named by the file's folder.

    Raises:
        InputError: tensorboard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise InputError(f"{path}: reading event files needs the package tensorboard (pip install tensorboard)")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    by_step: dict[int, dict[str, float]] = {}
    for tag in events.Tags()["scalars"]:
        for event in events.Scalars(tag):
            by_step.setdefault(event.step, {})[tag] = event.value
    for tag in events.Tags()["tensors"]:
        for event in events.Tensors(tag):
            value = make_ndarray(event.tensor_proto)
            if value.ndim == 0:
                by_step.setdefault(event.step, {})[tag] = float(value)
    builder = ColumnBuilder()
    for step in sorted(by_step):
        builder.add(by_step[step] | {"step": float(step)})
    return [LoggedRun(str(path), path.absolute().parent.name, builder.columns())]
