"""A tiny study as the earlier stages would leave it: problems, random models, and `trained` checkpoints."""

from __future__ import annotations

from pathlib import Path

import yaml

from tasks.records.problems import Problem, write_problems
from tasks.study.fingerprints import model_fingerprint, prepare_fingerprint, run_fingerprint
from tasks.study.grid import expand_grid
from tasks.study.manifests import write_manifest
from tasks.study.params import Params, TinyFamily, load_params
from tasks.study.paths import StudyPaths

REPOSITORY = Path(__file__).parents[1]


def make_params(root: Path, sizes: tuple[str, ...] = ("3k",), **evaluate: object) -> Params:
    """The shipped params file, cut down: one seed, no reuse axis, 12 held-out and 6 benchmark problems."""
    raw = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    raw["study"] = {"name": "tiny", "data_root": "data"}
    raw["grid"] = {"sizes": list(sizes), "variants": ["base", "instruct"], "seeds": [0]}
    raw["prepare"]["heldout"] = 12
    raw["prepare"]["benchmarks"] = [
        {"name": "hard", "source": "arithmetic", "level": 6, "problems": 6, "samples": 3, "temperature": 1.0}
    ]
    raw["evaluate"] |= evaluate
    raw["hardware"]["workers"] = 1
    path = root / "params.yaml"
    path.write_text(yaml.safe_dump(raw))
    return load_params(path)


def make_study(root: Path, sizes: tuple[str, ...] = ("3k",), **evaluate: object) -> Params:
    """Writes the folders of prepare, pretrain and train."""
    params = make_params(root, sizes, **evaluate)
    layout = StudyPaths.of(params)
    write_problems(layout.heldout, [_problem("heldout", a, 3) for a in range(12)], "test")
    write_problems(layout.train_problems, [_problem("train", 20 + a, 5) for a in range(64)], "train")
    write_problems(layout.benchmark("hard"), [_problem("hard", 1000 + a, 4321) for a in range(6)], "test")
    names = ["heldout.parquet", "train.parquet", "benchmarks/hard.parquet"]
    write_manifest(layout.stage("prepare"), "prepare", prepare_fingerprint(params), names, {})
    runs = expand_grid(params)
    models = []
    for number, name in enumerate(dict.fromkeys(run.model for run in runs)):
        files = save_random_model(params, name.rsplit("-", 1)[0], number, layout.model(name))
        write_manifest(layout.model(name), "pretrain", model_fingerprint(params, name), files, {"name": name})
        size, variant = name.rsplit("-", 1)
        models.append({"name": name, "size": size, "variant": variant, "path": name, "total": 1, "n_params": 1})
        models[-1] |= {"nominal": 1.0, "digest": str(number)}
    write_manifest(layout.stage("pretrain"), "pretrain", "0", [], {"models": models})
    for number, run in enumerate(runs):
        files = save_random_model(params, run.size, 100 + number, layout.final(run))
        write_manifest(layout.run(run), "train", run_fingerprint(params, run), [f"final/{name}" for name in files], {})
    return params


def save_random_model(params: Params, size: str, seed: int, folder: Path) -> list[str]:
    """Saves a model of a size with random weights; returns the names of its files."""
    from tasks.pretrain.tiny import build_tokenizer, new_model

    family = params.pretrain.family
    assert isinstance(family, TinyFamily)
    spec = next(model for model in family.models if model.name == size)
    tokenizer = build_tokenizer()
    new_model(spec, seed, params, len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return sorted(path.name for path in folder.iterdir())


def _problem(split: str, a: int, b: int) -> Problem:
    return Problem(f"{split}-{a}", "arithmetic", (("user", f"{a}+{b}="),), str(a + b), pass_rate=0.5, level=1)
