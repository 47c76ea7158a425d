"""`trainer_state.json` of transformers' Trainer, as TRL's trainers write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.imports.logged_run import LoggedRun, columns_of


def is_trainer_state(value: object) -> bool:
    """Whether a JSON document is a trainer state."""
    return isinstance(value, dict) and isinstance(value.get("log_history"), list)


def read_trainer_state(path: Path, value: dict[str, Any]) -> list[LoggedRun]:
    """One run from `log_history`. `num_tokens` is cumulative; `loss` is the objective, never the test loss."""
    folder = path.absolute().parent
    name = (folder.parent if folder.name.startswith("checkpoint-") else folder).name
    settings = {"trial_name": str(value["trial_name"])} if value.get("trial_name") else {}
    stem = path.name.split(".")[0]
    run = name if stem == "trainer_state" else stem
    return [LoggedRun(str(path), run, columns_of(value["log_history"]), settings)]
