"""A study small enough to train in a test: a few problems, one random model of a few thousand parameters."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tasks.records.problems import Problem, write_problems
from tasks.study.fingerprints import model_fingerprint, prepare_fingerprint
from tasks.study.grid import Run, expand_grid
from tasks.study.manifests import write_manifest
from tasks.study.params import Params, SupervisedStage, TinyFamily, load_params
from tasks.study.paths import StudyPaths

if TYPE_CHECKING:
    from transformers import PreTrainedModel

REPOSITORY = Path(__file__).parents[1]


def make_params(root: Path, **changes: dict[str, Any]) -> Params:
    """The small study cut down to one size and few steps; `changes` are merged into the named blocks."""
    raw = yaml.safe_load((REPOSITORY / "params.small.yaml").read_text())
    raw["study"] = {"name": "tiny", "data_root": "data"}
    raw["grid"] = {"sizes": ["3k"], "variants": ["base"], "seeds": [0]}
    raw["train"] |= {"steps": 3, "batch": 8, "group_size": 4, "minibatch": 4}
    raw["checkpoints"] = {"every": 1, "keep_last": 2}
    raw["hardware"] |= {"workers": 1, "token_budget": 64}
    for block, values in changes.items():
        raw[block] = {**raw[block], **values}
    root.mkdir(parents=True, exist_ok=True)
    path = root / "params.yaml"
    path.write_text(yaml.safe_dump(raw))
    return load_params(path)


def copy_study(source: Params, root: Path, **changes: dict[str, Any]) -> tuple[Params, Run]:
    """The study of `source` without its runs, under another root and with changed blocks."""
    stages = StudyPaths.of(source)
    for stage in ("prepare", "pretrain"):
        shutil.copytree(stages.stage(stage), root / "data" / stage)
    params = make_params(root, **changes)
    return params, expand_grid(params)[0]


def numbers(params: Params, run: Run) -> list[dict[str, Any]]:
    """A run's rows without what may differ between equal runs: seconds, and how verdicts were come by."""
    rows = [json.loads(line) for line in StudyPaths.of(params).metrics(run).read_text().splitlines()]
    for row in rows:
        row.pop("seconds")
        row["grading"] = {key: value for key, value in row["grading"].items() if key in {"graded", "right"}}
    return rows


def make_study(root: Path, **changes: dict[str, Any]) -> tuple[Params, Run]:
    """Writes what the stages before would leave; returns the params and the study's first run."""
    from tasks.policy.policy_model import count_parameters
    from tasks.pretrain.tiny import build_tokenizer, new_model

    params = make_params(root, **changes)
    layout, run = StudyPaths.of(params), expand_grid(params)[0]
    write_problems(layout.train_problems, [_problem("train", n % 7, n // 7 % 7) for n in range(40)], "train")
    write_problems(layout.heldout, [_problem("heldout", n, 2) for n in range(10)], "test")
    names = ["train.parquet", "heldout.parquet"]
    write_manifest(layout.stage("prepare"), "prepare", prepare_fingerprint(params), names, {})
    family = params.pretrain.family
    assert isinstance(family, TinyFamily)
    shape = {"hidden": 16, "layers": 2, "heads": 2, "kv_heads": 1, "ffn": 48}
    model = new_model(family.models[0].model_copy(update=shape), 3, params, len(build_tokenizer()))
    _teach_format(model, family.instruct)
    folder = layout.model(run.model)
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    total, n_params = count_parameters(model)
    files = sorted(path.name for path in folder.iterdir())
    write_manifest(folder, "pretrain", model_fingerprint(params, run.model), files, {"name": run.model})
    record = {"name": run.model, "size": run.size, "variant": run.variant, "path": run.model, "digest": "0"}
    record |= {"total": total, "n_params": n_params, "nominal": float(n_params)}
    write_manifest(layout.stage("pretrain"), "pretrain", "0", [], {"models": [record]})
    return params, run


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


def _problem(split: str, a: int, b: int) -> Problem:
    return Problem(f"{split}-{a}-{b}-{10 * a + b}", "arithmetic", (("user", f"{a}+{b}="),), str(a + b), level=1)
