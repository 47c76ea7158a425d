"""`rlscale doctor`: versions, devices and engines, and what each params file still needs on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.cli.options import JsonOption, print_json, print_table
from tasks.study.errors import InputError


def doctor(
    params: Annotated[
        Path | None,
        typer.Option("--params", help="One params file; default: every params*.yaml in this folder.", metavar="FILE"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Report versions, devices, engines, and what is missing for each params file."""
    from flows.cli.diagnostics import examine_machine, examine_params

    if params is not None and not params.is_file():
        raise InputError(f"{params}: no such params file")
    machine = examine_machine()
    files = sorted(Path.cwd().glob("params*.yaml")) if params is None else [params]
    needs = {path.name if params is None else str(path): examine_params(path, machine) for path in files}
    if as_json:
        print_json(machine | {"params": needs})
        return
    print_table(
        "Versions", ["package", "version"], [[name, text or "missing"] for name, text in machine["versions"].items()]
    )
    print_table("Machine", ["what", "found"], [[name, _text(value)] for name, value in machine["machine"].items()])
    rows = [[name, need] for name, missing in needs.items() for need in (missing or ["nothing"])]
    print_table("Missing for each params file", ["params file", "missing"], rows)


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
