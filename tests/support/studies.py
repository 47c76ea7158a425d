"""Studies small enough for a test, as the stages before `train` or before `evaluate` would leave them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from support import REPOSITORY
from tasks.records.metrics import read_metrics
from tasks.records.problems import Problem, write_problems
from tasks.study.fingerprints import model_fingerprint, prepare_fingerprint, run_fingerprint
from tasks.study.grid import ModelName, Run, expand_grid
from tasks.study.manifests import write_manifest
from tasks.study.params import Params, SupervisedStage, TinyFamily, load_params
from tasks.study.paths import StudyPaths

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Blocks = dict[str, dict[str, Any]]

_TO_TRAIN: Blocks = {
    "grid": {"sizes": ["3k"], "variants": ["base"], "seeds": [0], "reuse": None, "group_size": None},
    "train": {"steps": 3, "batch": 8, "group_size": 4, "minibatch": 4},
    "checkpoints": {"every": 1, "keep_last": 2},
    "hardware": {"workers": 1, "token_budget": 64},
}
_HARD = {"name": "hard", "source": "arithmetic", "level": 6, "problems": 6, "samples": 3, "temperature": 1.0}
_TO_EVALUATE: Blocks = {
    "grid": {"sizes": ["3k"], "variants": ["base", "instruct"], "seeds": [0], "reuse": None, "group_size": None},
    "prepare": {"heldout": 12, "benchmarks": [_HARD]},
    "hardware": {"workers": 1},
}


def make_params(root: Path, file: str = "params.small.yaml", **changes: dict[str, Any]) -> Params:
    """The params of a shipped file with `changes` merged into the named blocks, written to `root`/params.yaml."""
    raw = yaml.safe_load((REPOSITORY / file).read_text())
    raw["study"] = {"name": "tiny", "data_root": "data"}
    for block, values in changes.items():
        raw[block] = {**raw[block], **values}
    root.mkdir(parents=True, exist_ok=True)
    path = root / "params.yaml"
    path.write_text(yaml.safe_dump(raw))
    return load_params(path)


def make_train_params(root: Path, **changes: dict[str, Any]) -> Params:
    """The small study cut down to one size and few steps; `changes` are merged into the named blocks."""
    return make_params(root, **_merged(_TO_TRAIN, changes))


def make_evaluate_params(root: Path, sizes: tuple[str, ...] = ("3k",), **evaluate: object) -> Params:
    """The shipped study cut down: one seed, no reuse axis, 12 held-out and 6 benchmark problems."""
    changes = {"grid": {"sizes": list(sizes)}, "evaluate": evaluate}
    return make_params(root, "params.yaml", **_merged(_TO_EVALUATE, changes))


def study_to_train(root: Path, untied: bool = False, **changes: dict[str, Any]) -> tuple[Params, Run]:
    """Writes what prepare and pretrain would leave: one small model; also returns the first run.

    Args:
        root: of the study.
        untied: whether the model has an output layer of its own, and biases that are not zero.
        changes: merged into the named blocks of the params.
    """
    from tasks.policy.policy_model import count_parameters
    from tasks.pretrain.tiny import build_tokenizer, new_model

    params = make_train_params(root, **changes)
    layout, run = StudyPaths.of(params), expand_grid(params)[0]
    write_problems(layout.train_problems, [_digits("train", n % 7, n // 7 % 7) for n in range(40)], "train")
    write_problems(layout.heldout, [_digits("heldout", n, 2) for n in range(10)], "test")
    _close_prepare(params, ["train.parquet", "heldout.parquet"])
    shape = {"hidden": 16, "layers": 2, "heads": 2, "kv_heads": 1, "ffn": 48}
    family = _tiny_family(params)
    model = new_model(family.models[0].model_copy(update=shape), 3, params, len(build_tokenizer()))
    _teach_format(model, family.instruct)
    if untied:
        model = _untie(model)
    folder = layout.model(run.model)
    files = _save(model, folder)
    write_manifest(folder, "pretrain", model_fingerprint(params, run.model), files, {"name": run.model})
    total, n_params = count_parameters(model)
    _close_pretrain(params, [_model_record(run.model, "0", total, n_params)])
    return params, run


def study_to_evaluate(root: Path, sizes: tuple[str, ...] = ("3k",), **evaluate: object) -> Params:
    """Writes what prepare, pretrain and train would leave: random initial and random final models."""
    params = make_evaluate_params(root, sizes, **evaluate)
    layout = StudyPaths.of(params)
    write_problems(layout.heldout, [_sum("heldout", a, 3) for a in range(12)], "test")
    write_problems(layout.train_problems, [_sum("train", 20 + a, 5) for a in range(64)], "train")
    write_problems(layout.benchmark("hard"), [_sum("hard", 1000 + a, 4321) for a in range(6)], "test")
    _close_prepare(params, ["heldout.parquet", "train.parquet", "benchmarks/hard.parquet"])
    runs = expand_grid(params)
    models = []
    for number, name in enumerate(dict.fromkeys(run.model for run in runs)):
        files = save_random_model(params, ModelName.parse(name).size, number, layout.model(name))
        write_manifest(layout.model(name), "pretrain", model_fingerprint(params, name), files, {"name": name})
        models.append(_model_record(name, str(number), 1, 1))
    _close_pretrain(params, models)
    for number, run in enumerate(runs):
        files = save_random_model(params, run.size, 100 + number, layout.final(run))
        write_manifest(layout.run(run), "train", run_fingerprint(params, run), [f"final/{name}" for name in files], {})
    return params


def copy_study(source: Params, root: Path, **changes: dict[str, Any]) -> tuple[Params, Run]:
    """The study of `source` without its runs, under another root and with changed blocks."""
    stages = StudyPaths.of(source)
    for stage in ("prepare", "pretrain"):
        shutil.copytree(stages.stage(stage), root / "data" / stage)
    params = make_train_params(root, **changes)
    return params, expand_grid(params)[0]


def save_random_model(params: Params, size: str, seed: int, folder: Path) -> list[str]:
    """Saves a model of a size with random weights; returns the names of its files."""
    from tasks.pretrain.tiny import build_tokenizer, new_model

    spec = next(model for model in _tiny_family(params).models if model.name == size)
    return _save(new_model(spec, seed, params, len(build_tokenizer())), folder)


def numbers(params: Params, run: Run) -> list[dict[str, Any]]:
    """A run's rows without what may differ between equal runs: clock values, and how verdicts were come by."""
    rows = [row.outcome() for row in read_metrics(StudyPaths.of(params).metrics(run))]
    for row in rows:
        row["grading"] = {key: value for key, value in row["grading"].items() if key in {"graded", "right"}}
    return rows


def _merged(blocks: Blocks, changes: Blocks) -> Blocks:
    return {name: blocks.get(name, {}) | changes.get(name, {}) for name in blocks | changes}


def _tiny_family(params: Params) -> TinyFamily:
    family = params.pretrain.family
    assert isinstance(family, TinyFamily)
    return family


def _digits(split: str, a: int, b: int) -> Problem:
    return Problem(f"{split}-{a}-{b}-{10 * a + b}", "arithmetic", (("user", f"{a}+{b}="),), str(a + b), level=1)


def _sum(split: str, a: int, b: int) -> Problem:
    return Problem(f"{split}-{a}", "arithmetic", (("user", f"{a}+{b}="),), str(a + b), pass_rate=0.5, level=1)


def _close_prepare(params: Params, names: list[str]) -> None:
    write_manifest(StudyPaths.of(params).stage("prepare"), "prepare", prepare_fingerprint(params), names, {})


def _close_pretrain(params: Params, models: list[dict[str, Any]]) -> None:
    write_manifest(StudyPaths.of(params).stage("pretrain"), "pretrain", "0", [], {"models": models})


def _model_record(name: str, digest: str, total: int, n_params: int) -> dict[str, Any]:
    model = ModelName.parse(name)
    record = {"name": name, "size": model.size, "variant": model.variant, "path": name, "digest": digest}
    return record | {"total": total, "n_params": n_params, "nominal": float(n_params)}


def _save(model: PreTrainedModel, folder: Path) -> list[str]:
    """Saves a model with the family's tokenizer; returns the names of the files."""
    from tasks.pretrain.tiny import build_tokenizer

    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    return sorted(path.name for path in folder.iterdir())


def _untie(model: PreTrainedModel) -> PreTrainedModel:
    """The model with an output layer of its own, a little off the embedding, and biases that are not zero."""
    import torch

    config = type(model.config).from_dict(model.config.to_dict() | {"tie_word_embeddings": False})
    other = type(model)(config)
    other.load_state_dict(model.state_dict())
    other.generation_config = model.generation_config
    generator = torch.Generator().manual_seed(1)
    for name, parameter in other.named_parameters():
        if name == "lm_head.weight" or name.endswith(".bias"):
            parameter.data += 0.02 * torch.randn(parameter.shape, generator=generator)
    return other


def _teach_format(model: PreTrainedModel, recipe: SupervisedStage) -> None:
    """Teaches a random model to answer with some boxed digit, so that some of its answers earn a reward."""
    from tasks.policy.packing import PromptGroup
    from tasks.policy.policy_model import Policy
    from tasks.pretrain.tiny import build_tokenizer, train_supervised

    tokenizer = build_tokenizer()
    pairs = [(a, b, answer) for a in range(4) for b in range(4) for answer in (a + b, b + 1)]
    groups = [
        PromptGroup(
            tuple(tokenizer.encode(f"{a}+{b}=")), (tuple(tokenizer.encode(f"\\boxed{{{answer}}}<|endoftext|>")),)
        )
        for a, b, answer in pairs
    ]
    recipe = recipe.model_copy(update={"steps": 40})
    train_supervised(Policy(model), recipe, 2e-2, [groups] * recipe.steps)
