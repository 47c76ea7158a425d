"""The command line, `rlscale`: collects the commands and turns errors into exit codes.

Exit codes: 0 done; 2 bad input, one sentence on standard error; 130 stopped by Ctrl-C, 143 by SIGTERM; 1 a stage that
failed, told in a few lines, or a defect of ours with its traceback. Nothing heavy is imported here: `rlscale --help`
answers in well under a second.
"""

from __future__ import annotations

import importlib
import signal
import sys
from types import FrameType

import typer

from tasks.errors import InputError
from tasks.orchestration import StageFailed

COMMANDS = ("study", "prepare", "stages", "evaluate", "laws", "grade", "status", "doctor")


STOPPED = (130, 143)


def build_app() -> typer.Typer:
    """Returns the application with the commands of every module in `COMMANDS`."""
    app = typer.Typer(
        name="rlscale",
        help="Scaling laws of RL post-training, measured: from problems to a budget plan.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for name in COMMANDS:
        importlib.import_module(f"flows.commands.{name}").register(app)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line and exits."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        build_app()(arguments)
    except InputError as error:
        typer.echo(f"rlscale: {error}", err=True)
        sys.exit(2)
    except StageFailed as error:
        typer.echo(f"rlscale: {error}", err=True)
        sys.exit(1)
    except SystemExit as end:
        if end.code in STOPPED:
            typer.echo("rlscale: stopped; what is finished is kept, the next run continues", err=True)
        raise


def _terminate(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM unwinds the stack like Ctrl-C does, so that servers and workers are stopped on the way out."""
    raise SystemExit(143)
