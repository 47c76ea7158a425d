"""The README's example commands, as typed from a clone, print what the README shows."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from support import REPOSITORY

pytestmark = pytest.mark.slow


def examples() -> dict[str, list[str]]:
    """Every command after `$` in the README's indented blocks, with the lines shown below it."""
    found: dict[str, list[str]] = {}
    shown: list[str] | None = None
    for line in (REPOSITORY / "README.md").read_text().splitlines():
        if line.startswith("    $ "):
            shown = found.setdefault(line.removeprefix("    $ "), [])
        elif shown is not None and line.startswith("    "):
            shown.append(line.strip())
        else:
            shown = None
    return found


def test_the_readme_shows_the_three_commands_on_a_table() -> None:
    assert [command.split()[1] for command in examples()] == ["fit", "forecast", "plan"]


@pytest.mark.parametrize(("command", "shown"), examples().items(), ids=list(examples()))
def test_an_example_prints_what_the_readme_shows(command: str, shown: list[str]) -> None:
    program, *arguments = shlex.split(command)
    script = Path(sys.executable).parent / program
    answer = subprocess.run([script, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    rest = " ".join(answer.stdout.split())
    for line in shown:
        if line != "...":
            _, found, rest = rest.partition(" ".join(line.split()))
            assert found, f"{command} does not print, or not in this place: {line}"
