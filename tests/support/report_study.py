"""A finished study with made-up numbers, written by the program's own writers: what the report stage finds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import yaml

from support import REPOSITORY
from tasks.evaluate.steps import write_all
from tasks.fit.study import fit_study
from tasks.records.metrics import StepMetrics
from tasks.records.problems import Problem, write_problems
from tasks.records.samples import Sample, write_samples
from tasks.records.scores import Score
from tasks.records.statistics import wilson_interval
from tasks.records.stopping import STOPPED, StoppedRun
from tasks.study.fingerprints import evaluate_fingerprint, model_fingerprint, prepare_fingerprint, run_fingerprint
from tasks.study.grid import ModelName, Run, expand_grid
from tasks.study.manifests import write_json, write_manifest, write_text
from tasks.study.params import Params, load_params
from tasks.study.paths import StudyPaths
from tasks.study.policies import benchmark_names, list_policies
from tasks.study.status import model_names, stage_fingerprint
from tasks.train.steps import collect

SIZES = {"3k": 3072, "7k": 6912, "25k": 24704, "56k": 55_488, "99k": 98_560, "222k": 221_568, "394k": 393_728}
KMAX, N0 = {"base": 0.16, "instruct": 0.12}, {"base": 6e4, "instruct": 9e4}


def make_finished_study(
    root: Path,
    grid: dict[str, object],
    steps: int = 30,
    draws: int = 60,
    stopping: dict[str, object] | None = None,
) -> Params:
    """Writes the folders of prepare, pretrain, train, evaluate and fit below `root`.

    Args:
        root: an empty folder.
        grid: replaces keys of the shipped grid block.
        steps: steps per run.
        draws: bootstrap draws of the fit.
        stopping: `train.stopping`; the first run was then stopped half-way, in favor of the second.
    """
    raw = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    raw["study"] = {"name": "made_up", "data_root": "data"}
    raw["grid"] |= grid
    raw["train"]["steps"] = steps
    raw["train"] |= {} if stopping is None else {"stopping": stopping}
    raw["train"]["batch"] = 100
    raw["train"]["minibatch"] = 25
    raw["fit"]["bootstrap_draws"] = draws
    (root / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    params = load_params(root / "params.yaml")
    _write_problem_sets(params)
    _write_models(params)
    for number, run in enumerate(expand_grid(params)):
        _write_run(params, run, np.random.default_rng(number))
    collect(params)
    fit_study(params)
    _write_scores(params, np.random.default_rng(99))
    return params


def _write_problem_sets(params: Params) -> None:
    layout = StudyPaths.of(params)
    folder = layout.stage("prepare")
    write_problems(layout.heldout, [_problem("heldout", index) for index in range(6)], "heldout")
    names = ["heldout.parquet"]
    for benchmark in params.prepare.benchmarks:
        write_problems(layout.benchmark(benchmark.name), [_problem(benchmark.name, i) for i in range(6)], "test")
        names.append(str(layout.benchmark(benchmark.name).relative_to(folder)))
    counts = {"read": 11_000, "train": 6400, "rejected": {"exact duplicate": 37, "overlaps held-out": 5}}
    training = {"rows": 6400, "unknown_pass_rate": 0}
    facts = {"counts": counts, "evaluation": {"heldout": 500, "arithmetic_hard": 200}, "training": training}
    write_manifest(folder, "prepare", prepare_fingerprint(params), names, facts | {"content": "c0ffee"})


def _problem(split: str, index: int) -> Problem:
    a, b = 10 + index, 3 * index
    return Problem(f"{split}/{index}", "arithmetic", (("user", f"{a}+{b}="),), str(a + b), pass_rate=0.5, level=1)


def _write_models(params: Params) -> None:
    layout, records = StudyPaths.of(params), []
    for name in model_names(params):
        model = ModelName.parse(name)
        size, variant = model.size, model.variant
        facts = {"name": name, "size": size, "variant": variant, "total": SIZES[size] + 900, "n_params": SIZES[size]}
        facts |= {"nominal": SIZES[size], "digest": f"{SIZES[size]:x}"}
        write_text(layout.model(name) / "config.json", "{}")
        write_manifest(layout.model(name), "pretrain", model_fingerprint(params, name), ["config.json"], facts)
        records.append(facts | {"path": name, "nominal": float(SIZES[size])})
    write_manifest(layout.stage("pretrain"), "pretrain", stage_fingerprint(params, "pretrain"), [], {"models": records})


def _write_run(params: Params, run: Run, rng: np.random.Generator) -> None:
    layout = StudyPaths.of(params)
    shift = float(rng.normal(0, 0.008))
    stop, steps = _stop(params, run), run.steps
    if stop is not None:
        steps = stop.step
    rows = [_step(params, run, step, shift, rng) for step in range(steps + 1)]
    write_text(layout.metrics(run), "".join(row.line() for row in rows))
    write_json(layout.run(run) / "params.json", params.model_dump(mode="json"))
    facts = {"run_id": run.run_id, "size": run.size, "variant": run.variant, "seed": run.seed, "tau": run.tau}
    facts |= {"group_size": run.group_size, "n_params": SIZES[run.size], "nominal": float(SIZES[run.size])}
    facts |= {} if stop is None else {STOPPED: asdict(stop)}
    facts |= {"steps": steps, "test_loss": rows[-1].test_loss, "compute": rows[-1].compute}
    write_manifest(
        layout.run(run),
        "train",
        run_fingerprint(params, run),
        ["metrics.jsonl", "params.json"],
        facts | {"content": run.run_id},
    )


def _stop(params: Params, run: Run) -> StoppedRun | None:
    first, second = expand_grid(params)[:2]
    if params.train.stopping is None or run != first:
        return None
    half = run.steps // 2
    return StoppedRun(run.run_id, 0.45, half, run.steps, 0.0123, second.run_id, 0.812, 0.543, 0.0004)


def _step(params: Params, run: Run, step: int, shift: float, rng: np.random.Generator) -> StepMetrics:
    """A row that follows the published law, with run-to-run and evaluation noise."""
    n, data, trials = SIZES[run.size], step * params.train.batch, 500
    k = KMAX[run.variant] / (1 + N0[run.variant] / n)
    start = 0.93 - 0.03 * np.log10(n / 3000) - (0.06 if run.variant == "instruct" else 0.0)
    harm = {50: 0.02, 100: 0.06}.get(run.tau, 0.0) * step / params.train.steps
    loss = min(float(start * 10 ** (-k * np.log10(max(data, 60) / 60) + harm + shift)), 0.99)
    right = trials - int(rng.binomial(trials, loss))
    tested = {"test_loss": 1 - right / trials, "test_trials": trials, "test_right": right}
    tested["test_loss_se"] = float(np.sqrt(loss * (1 - loss) / trials))
    stated = right + (trials - right) * (params.train.steps - step) // (20 * params.train.steps)
    tested |= {"test_right_lenient": stated, "test_loss_lenient": 1 - stated / trials}
    if step == 0:
        return StepMetrics(0, **tested, seconds={"evaluation": 0.5})  # type: ignore[arg-type]
    answers, tokens = params.train.batch * run.group_size, data * run.group_size * 14
    flops = {"rollout": 2.1, "reference": 2.0, "old": 0.0, "update": 6.0, "evaluation": 1.4}
    share = n * tokens / step
    counts = {"graded": answers, "right": int(answers * (1 - loss)), "unjudged": 0, "timed_out": 0}
    counts |= {"fast_path": int(answers * 0.9), "remembered": answers - int(answers * 0.9), "retried": 0}
    return StepMetrics(
        step=step,
        epoch=step / params.train.steps * run.tau,
        data=data,
        tokens=tokens,
        compute=6.0 * n * tokens,
        flops={name: value * share for name, value in flops.items()},
        flops_total=sum(flops.values()) * n * tokens,
        reward_mean=float(1 - loss + rng.normal(0, 0.012)),
        reward_std=0.3,
        degenerate_groups=float(0.3 + 0.2 * step / params.train.steps),
        loss=float(rng.normal(0, 0.01)),
        kl=0.004 * step / params.train.steps,
        entropy=float(0.55 * np.exp(-step / 80)),
        clip_fraction=0.02,
        grad_norm=0.4,
        mismatch_kl=0.0,
        mismatch_share=0.0,
        prompt_tokens=answers * 9,
        completion_tokens=answers * 5,
        completion_length=float(4.3 + 0.5 * step / params.train.steps + rng.normal(0, 0.03)),
        truncated=0.01,
        grading=counts,
        sampler_fingerprint="ab12",
        seconds={"rollout": 0.4, "grading": 0.02, "update": 0.5, "weights": 0.01, "evaluation": 0.3},
        **tested,  # type: ignore[arg-type]
    )


def _write_scores(params: Params, rng: np.random.Generator) -> None:
    for subject in list_policies(params):
        for benchmark in benchmark_names(params):
            before = 0.12 if subject.name.startswith("initial-") else 0.25
            accuracy = before + 0.08 * np.log10(SIZES[subject.size] / 3000) - 0.1 * (benchmark != "heldout")
            folder, problems, samples = StudyPaths.of(params).evaluation(subject, benchmark), 200, 4
            right = int(rng.binomial(problems * samples, accuracy))
            pass_at_1 = right / (problems * samples)
            pass_at_k = {str(k): 1 - (1 - pass_at_1) ** (0.8 * k) if k > 1 else pass_at_1 for k in (1, 2, 4)}
            low, high = wilson_interval(pass_at_1, problems)
            score = Score(subject.name, benchmark, problems, samples, right, pass_at_1, low, high, pass_at_k, 0.01, 4.4,
                          0, 0.7, 9000.0, "transformers")  # fmt: skip
            write_samples(folder / "samples.parquet", list(_samples(benchmark, subject.run is not None)))
            write_json(folder / "score.json", vars(score))
            files = ["samples.parquet", "score.json"]
            write_manifest(folder, "evaluate", evaluate_fingerprint(params, subject, benchmark), files, {})
    write_all(params)


def _samples(benchmark: str, trained: bool) -> Iterable[Sample]:
    """Six problems, right and wrong in turn; initial policies leave a box out, and the last answer is an open sum."""
    for index in range(6):
        right, gold = index % 2 == 0, 10 + 4 * index
        text = f"\\boxed{{{gold if right else gold + 1}}}" if index < 5 else f"\\boxed{{{gold}+0}}"
        boxed = trained or index != 2
        status, strict = "right" if right else "wrong", float(right and boxed)
        text = text if boxed else str(gold)
        yield Sample(f"{benchmark}/{index}", 0, text, 4, "stop", status, text, strict, "equal", float(right))
