"""The command line, `rlscale`: collects the commands and turns errors into exit codes.

Exit codes: 0 done; 2 bad input, one sentence on standard error; 130, 143, 138 or 129 stopped by Ctrl-C, SIGTERM,
SIGUSR1 or a closed terminal; 1 a stage that failed, told in a few lines, or a defect of ours with its traceback.
Nothing heavy is imported here: `rlscale --help` answers in well under a second.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import signal
import sys
from types import FrameType
from typing import Annotated

import typer

from tasks.runtime.prefect_options import StageFailed
from tasks.study.errors import InputError

COMMANDS = (
    "study",
    "prepare",
    "pretrain",
    "train",
    "report",
    "evaluate",
    "import",
    "fit",
    "forecast",
    "plan",
    "design",
    "compare",
    "grade",
    "status",
    "verify",
    "sync",
    "ui",
    "doctor",
)
"""In the order of `--help`; each is the function of that name in the module of that name."""

FUNCTIONS = {"import": "import_logs"}
"""Of commands whose name is a keyword of Python: function and module."""

INTERRUPT_EXIT_CODES = (129, 130, 138, 143)


def _show_version(version: bool) -> None:
    if version:
        typer.echo(f"rlscale {importlib.metadata.version('rlscale')}")
        raise typer.Exit


def build_app() -> typer.Typer:
    """Returns the application with all `COMMANDS`."""
    app = typer.Typer(name="rlscale", no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(_program)
    for name in COMMANDS:
        function = FUNCTIONS.get(name, name)
        app.command(name)(getattr(importlib.import_module(f"flows.cli.{function}"), function))
    return app


def _program(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Scaling laws of RL post-training, measured: from problems to a budget plan."""


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits."""
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` ignores it
            signal.signal(number, _terminate)
    try:
        build_app()(arguments)
    except InputError as error:
        typer.echo(f"rlscale: {error}", err=True)
        sys.exit(2)
    except StageFailed as error:
        typer.echo(f"rlscale: {error}", err=True)
        sys.exit(1)
    except SystemExit as end:
        if end.code in INTERRUPT_EXIT_CODES:
            typer.echo("rlscale: stopped; what is finished is kept, the next run continues", err=True)
        raise


def _terminate(number: int, _frame: FrameType | None) -> None:
    """A signal that ends the program unwinds the stack like Ctrl-C, so that servers and workers stop on the way out."""
    raise SystemExit(128 + number)
