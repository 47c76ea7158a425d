"""Params files and the grid they describe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import REPOSITORY

from tasks.study.errors import InputError
from tasks.study.fingerprints import model_fingerprint, prepare_fingerprint
from tasks.study.grid import ModelName, expand_grid, find_run
from tasks.study.params import Params, RunsEntry, load_params
from tasks.study.policies import list_policies
from tasks.study.status import model_names

FILES = sorted(REPOSITORY.glob("params*.yaml"))


def _changed(tmp_path: Path, *path_and_value: Any) -> Path:
    """The miniature params with one value changed (or a key added), as a file."""
    *keys, value = path_and_value
    raw = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    block = raw
    for key in keys[:-1]:
        block = block[key]
    block[keys[-1]] = value
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(raw))
    return file


@pytest.fixture(scope="module")
def mini() -> Params:
    return load_params(REPOSITORY / "params.yaml")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_shipped_params_file_describes_a_grid_and_a_data_root_of_its_own(file: Path) -> None:
    params = load_params(file)
    assert expand_grid(params)
    assert params.root not in [load_params(other).root for other in FILES if other != file]


@pytest.mark.parametrize("name", ["params.yaml", "params.paper.yaml"])
def test_the_grid_has_54_runs_with_unique_ids(name: str) -> None:
    runs = expand_grid(load_params(REPOSITORY / name))
    assert len(runs) == 54
    assert len({run.run_id for run in runs}) == 54
    assert sum(run.tau > 1 for run in runs) == 12


def test_the_order_of_the_grid_is_stable(mini: Params) -> None:
    ids = [run.run_id for run in expand_grid(mini)]
    assert ids[0] == "base-3k-tau1-g8-s0-febb143e"
    assert ids[42] == "base-56k-tau2-g8-s0-d237358a"
    assert ids[-1] == "instruct-56k-tau100-g8-s0-0af6da70"


def test_every_seed_gets_an_initial_model_of_its_own_where_the_family_says_so(mini: Params, tmp_path: Path) -> None:
    one, per_run = (
        load_params(_changed(tmp_path, "pretrain", "family", "seeds", value)) for value in ("one", "per_run")
    )
    assert [run.run_id for run in expand_grid(one)] == [run.run_id for run in expand_grid(per_run)]
    assert (len(model_names(one)), len(model_names(per_run))) == (14, 42)
    run = next(run for run in expand_grid(per_run) if run.seed == 2 and run.variant == "instruct")
    assert run.model == f"{run.size}-instruct-s2"
    assert ModelName.parse(run.model).base == f"{run.size}-base-s2"
    reused = [run.model for run in expand_grid(per_run) if run.tau > 1]
    assert set(reused) == {"56k-base-s0", "56k-instruct-s0"}, "runs of the reuse axis start where their seed's run does"
    assert sum(policy.run is None for policy in list_policies(per_run)) == 42
    fingerprints = {name: model_fingerprint(per_run, name) for name in model_names(per_run)}
    assert len(set(fingerprints.values())) == 42
    assert model_fingerprint(one, "3k-base") == model_fingerprint(mini, "3k-base")


@pytest.mark.parametrize(
    ("block", "key", "default", "other"),
    [
        ("objective", "loss", "ppo", "gspo"),
        ("objective", "clip_dual", None, 3.0),
        ("objective", "kl_clamp", None, 10.0),
        ("objective", "advantage_scale", "group_std", "none"),
        ("objective", "entropy_coefficient", 0.0, 0.01),
        ("objective", "mask_truncated", False, True),
        ("objective", "overlong_buffer", None, 4),
        ("optimizer", "warmup_steps", 0, 10),
        (None, "float32_head", False, True),
    ],
)
def test_a_switch_of_the_loss_changes_ids_and_its_default_does_not(
    mini: Params, tmp_path: Path, block: str | None, key: str, default: object, other: object
) -> None:
    path = ("train", key) if block is None else ("train", block, key)
    plain, same, changed = (
        [run.run_id for run in expand_grid(params)]
        for params in (mini, *(load_params(_changed(tmp_path, *path, value)) for value in (default, other)))
    )
    assert same == plain
    assert not set(changed) & set(plain)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"clip_dual": 1.1}, r"clip_dual 1.1 must be above 1 \+ clip_high = 1.2"),
        ({"clip_dual": 3.0, "loss": "cispo"}, "clip_dual has no place in loss cispo"),
        ({"overlong_buffer": 13}, "overlong_buffer 13 is more than sampling.max_completion_tokens 12"),
    ],
)
def test_switches_that_contradict_each_other_are_refused(
    mini: Params, tmp_path: Path, changes: dict[str, object], sentence: str
) -> None:
    objective = mini.train.objective.model_dump() | changes
    with pytest.raises(InputError, match=sentence):
        load_params(_changed(tmp_path, "train", "objective", objective))


def test_hardware_paths_trackers_and_checkpoints_do_not_change_ids(mini: Params) -> None:
    hardware = mini.hardware.model_copy(update={"workers": 7, "token_budget": 99, "threads_per_worker": 3})
    changed = mini.model_copy(
        update={
            "hardware": hardware,
            "study": mini.study.model_copy(update={"data_root": "/elsewhere", "name": "other"}),
            "tracking": mini.tracking.model_copy(update={"enabled": False}),
            "checkpoints": mini.checkpoints.model_copy(update={"every": 1}),
        }
    )
    assert expand_grid(changed) == expand_grid(mini)


def test_a_scientific_value_changes_every_id(mini: Params) -> None:
    optimizer = mini.train.optimizer.model_copy(update={"learning_rate": 1e-3})
    changed = mini.model_copy(update={"train": mini.train.model_copy(update={"optimizer": optimizer})})
    assert not {run.run_id for run in expand_grid(changed)} & {run.run_id for run in expand_grid(mini)}


def test_the_reward_changes_every_id_once_it_is_not_the_published_one(mini: Params) -> None:
    strict, lenient = (mini.model_copy(update={"train": mini.train.model_copy(update={"reward": reward})})
                       for reward in ("strict", "lenient"))  # fmt: skip
    assert expand_grid(strict) == expand_grid(mini)
    assert not {run.run_id for run in expand_grid(lenient)} & {run.run_id for run in expand_grid(mini)}


def test_the_group_size_axis_adds_runs(mini: Params) -> None:
    assert mini.grid.group_size is not None
    axis = mini.grid.group_size.model_copy(update={"values": (4, 16, 32)})
    changed = mini.model_copy(update={"grid": mini.grid.model_copy(update={"group_size": axis})})
    assert len(expand_grid(changed)) == 60


def test_entries_of_runs_have_steps_and_seeds_of_their_own_and_leave_other_ids_alone(mini: Params) -> None:
    entries = (
        RunsEntry(size="3k", variant="base", steps=40, seeds=(0, 5)),
        RunsEntry(size="3k", variant="base", steps=mini.train.steps, seeds=(7,)),
    )
    grid = mini.grid.model_copy(update={"runs": entries})
    runs = expand_grid(mini.model_copy(update={"grid": grid}))
    cells = [(run.seed, run.steps) for run in runs if (run.size, run.variant, run.tau) == ("3k", "base", 1)]
    assert cells == [(0, 40), (5, 40), (7, mini.train.steps)]
    before = expand_grid(mini)
    others = [run for run in before if (run.size, run.variant, run.tau) != ("3k", "base", 1)]
    assert [run for run in runs if run in before] == others
    assert runs[0].run_id.startswith("base-3k-tau1-g8-s0-40steps-")
    # As long as all others, a run has the id that it would have without an entry.
    seeded = mini.grid.model_copy(update={"seeds": (7,)})
    assert runs[2] in expand_grid(mini.model_copy(update={"grid": seeded}))


def test_a_run_is_found_by_an_unambiguous_prefix_only(mini: Params) -> None:
    run = expand_grid(mini)[0]
    assert find_run(mini, run.run_id) == find_run(mini, run.run_id[:-3]) == run
    with pytest.raises(InputError, match=r"matches \d\d of the grid's 54"):
        find_run(mini, "base")
    with pytest.raises(InputError, match="matches 0"):
        find_run(mini, "no-such-run")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("train", "group_size", 1), ["train", "group_size"]),
        (("train", "minibatch", 48), ["train", "minibatch 48 must divide batch 64"]),
        (("train", "stepz", 3), ["unknown key train.stepz"]),
        (("train", "steps", "many"), ["train.steps", "'many'"]),
        (("train", "steps", 2.5), ["train.steps"]),
        (("grid", "reuse", "factors", [3]), ["grid.reuse.factors", "3 does not divide"]),
        (("grid", "sizes", ["3k", "900k"]), ["900k", "pretrain.family.models"]),
        (("grid", "runs", [{"size": "3k", "variant": "base", "steps": 999, "seeds": [0]}]), ["grid.runs", "999 steps"]),
        (("grid", "runs", [{"size": "9k", "variant": "base", "steps": 9, "seeds": [0]}]), ["grid.runs", "9k base"]),
        (("train", "stopping", {"rule": "dominated", "compare": []}), ["train.stopping.compare"]),
        (("train", "stopping", {"rule": "worst", "compare": ["size"]}), ["train.stopping.rule", "'worst'"]),
        (("train", "stopping", {"rule": "dominated", "compare": ["size"], "from": 1.5}), ["train.stopping.from"]),
        (("evaluate", "temperature", -1.0), ["evaluate.temperature"]),
    ],
)
def test_an_impossible_value_is_refused_in_one_sentence_naming_file_and_key(
    change: tuple[Any, ...], words: list[str], tmp_path: Path
) -> None:
    file = _changed(tmp_path, *change)
    with pytest.raises(InputError) as caught:
        load_params(file)
    message = str(caught.value)
    assert message.startswith(str(file))
    assert "\n" not in message
    for word in words:
        assert word in message


def test_stopping_is_judged_at_every_tenth_from_a_quarter_on_and_survives_json(tmp_path: Path) -> None:
    params = load_params(_changed(tmp_path, "train", "stopping", {"rule": "dominated", "compare": ["size"]}))
    assert params.train.stopping is not None
    assert params.train.stopping.marks == (0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95)
    assert Params.model_validate_json(params.model_dump_json()) == params
    plain = load_params(REPOSITORY / "params.yaml")
    assert not {run.run_id for run in expand_grid(params)} & {run.run_id for run in expand_grid(plain)}


def test_two_runs_with_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two runs have one id"):
        expand_grid(load_params(_changed(tmp_path, "grid", "seeds", [0, 0])))


def test_problem_files_count_from_the_params_file_and_their_place_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = yaml.safe_load((REPOSITORY / "params.small.yaml").read_text())
    raw["prepare"]["source"] = {"kind": "file", "path": "problems.jsonl", "heldout_path": "elsewhere.jsonl"}
    fingerprints = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "problems.jsonl").write_text("{}\n")
        (folder / "params.yaml").write_text(yaml.safe_dump(raw))
        monkeypatch.chdir(tmp_path)
        params = load_params(folder / "params.yaml")
        source = params.prepare.source
        assert source.kind == "file"
        assert source.path == str(folder / "problems.jsonl")
        assert source.heldout_path == "elsewhere.jsonl"  # not there: named in messages as it was written
        fingerprints.append(prepare_fingerprint(params))
    assert fingerprints[0] == fingerprints[1]


def test_model_folders_and_the_interpreter_count_from_the_params_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = yaml.safe_load((REPOSITORY / "params.paper.yaml").read_text())
    model = raw["pretrain"]["family"]["models"][0]
    hub = model["instruct"]
    model |= {"base": "models/qwen", "base_revision": None}
    raw["hardware"] |= {"python": "gpu/bin/python", "accelerate_config": "fsdp.yaml"}
    file = tmp_path / "params.yaml"
    file.write_text(yaml.safe_dump(raw))
    (tmp_path / "models" / "qwen").mkdir(parents=True)
    (tmp_path / "gpu" / "bin").mkdir(parents=True)
    (tmp_path / "gpu" / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / "fsdp.yaml").write_text("{}")
    (tmp_path / "python3").write_text("no interpreter")
    monkeypatch.chdir("/")
    params = load_params(file)
    assert params.pretrain.family.models[0].base == str(tmp_path / "models" / "qwen")  # type: ignore[union-attr]
    assert params.pretrain.family.models[0].instruct == hub  # type: ignore[union-attr]
    assert params.hardware.python == str(tmp_path / "gpu" / "bin" / "python"), "a virtual environment's link is kept"
    assert params.hardware.accelerate_config == str(tmp_path / "fsdp.yaml")
    raw["hardware"]["python"] = "python3"
    file.write_text(yaml.safe_dump(raw))
    assert load_params(file).hardware.python == "python3", "a bare name is looked up in PATH"


def test_a_missing_file_and_broken_yaml_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such params file"):
        load_params(tmp_path / "absent.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("study: [")
    with pytest.raises(InputError, match="not YAML"):
        load_params(broken)
