"""Measuring pass rates with a model: `rlscale prepare --measure-pass-rate MODEL`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from tasks.grading import GradingPool
from tasks.prepare.pass_rates import Solver, measure_pass_rates, read_pass_rates
from tasks.prepare.prepare import unknown_problems
from tasks.sampling.engines import open_engine
from tasks.sampling.prompts import load_tokenizer
from tasks.sampling.protocol import SamplingSettings
from tasks.study.errors import InputError
from tasks.study.params import Params
from tasks.study.paths import StudyPaths


def measure(
    params: Params, model: str, samples: int, engine_kind: str, progress: Callable[[int, int], None]
) -> tuple[Path, int]:
    """Measures every cleaned problem of the source that has no pass rate.

    Args:
        params: the study; sampling is at `train.sampling`'s temperature and lengths.
        model: a checkpoint folder, or the name of a model of the study's family.
        samples: completions per problem.
        engine_kind: transformers or vllm.
        progress: told (problems measured in this call, problems to measure).

    Returns:
        The file of pass rates (`prepare.pass_rates`, else below the data root) and how many it holds.

    Raises:
        InputError: no such model, or the file was measured with another one.
    """
    layout = StudyPaths.of(params)
    checkpoint = Path(model) if Path(model).is_dir() else layout.model(model)
    if not checkpoint.is_dir():
        raise InputError(f"{model}: neither a checkpoint folder nor a model in {layout.stage('pretrain')}")
    folder = layout.root / "pass_rates"
    path = Path(params.prepare.pass_rates) if params.prepare.pass_rates else folder / f"{checkpoint.name}.jsonl"
    block = params.prepare.model_copy(update={"pass_rates": None})  # problems measured before are listed again
    problems = unknown_problems(params.model_copy(update={"prepare": block}), folder)
    sampling, hardware = params.train.sampling, params.hardware
    settings = SamplingSettings(
        samples, sampling.temperature, sampling.top_p, sampling.max_completion_tokens, params.prepare.seed
    )
    sized = hardware.of_size(checkpoint.name.partition("-")[0])  # names of the family's models begin with the size
    engine = open_engine(engine_kind, checkpoint, sized, params.train.precision)
    try:
        with GradingPool(hardware.grading_workers, hardware.grading_seconds, hardware.grading_memory_mb) as pool:
            tokenizer = load_tokenizer(checkpoint)
            solver = Solver(engine, tokenizer, _style(params, checkpoint, bool(tokenizer.chat_template)))
            for done in measure_pass_rates(problems, solver, pool, settings, path):
                progress(done, len(problems))
    finally:
        engine.close()
    return path, len(read_pass_rates(str(path)))


def _style(params: Params, checkpoint: Path, has_template: bool) -> Literal["plain", "chat"]:
    """A model of the study's family is prompted as in training; any other by its chat template, where it has one."""
    variant = checkpoint.name.partition("-")[2].partition("-")[0]
    if checkpoint.parent.resolve() == StudyPaths.of(params).stage("pretrain").resolve() and variant in (
        "base",
        "instruct",
    ):
        return params.train.prompt_style.base if variant == "base" else params.train.prompt_style.instruct
    return "chat" if has_template else "plain"
