"""One engine, many checkpoints: evaluates the policies of a size and writes each (run, benchmark) pair as it is done.

A pair is a folder with a manifest written last, so a killed evaluation continues at the missing pairs. The grading of
one policy overlaps with the drawing of the next.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.evaluate.generate import GeneratedSet, Grader, generate
from tasks.evaluate.policies import Policy, missing, score_folder
from tasks.evaluate.problem_sets import ProblemSet, load_set, longest_sequence
from tasks.evaluate.samples import Sample, score_of, write_samples
from tasks.grading import GradingPool
from tasks.sampling.engines import open_engine
from tasks.sampling.prompts import load_prompts
from tasks.sampling.protocol import Engine, GenerationBatch
from tasks.study.errors import InputError
from tasks.study.fingerprints import evaluate_fingerprint
from tasks.study.grid import Run
from tasks.study.manifests import canonical_json, digest_file, digest_text, once, read_manifest, write_json
from tasks.study.params import Params
from tasks.study.paths import StudyPaths

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

SAMPLES, SCORE = "samples.parquet", "score.json"


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate, and how.

    Attributes:
        params: the study; `evaluate.engine` names the engine.
        policies: policies of one size.
        benchmarks: names of the sets.
        root: folder instead of `data/evaluate`, for an engine that is not the study's own.
        server: URL of a running server to ask instead of an engine of our own.
    """

    params: Params
    policies: tuple[Policy, ...]
    benchmarks: tuple[str, ...]
    root: Path | None = None
    server: str | None = None


def run_request(order: EvaluationRequest) -> int:
    """Evaluates what is missing; returns how many pairs were done now.

    Raises:
        InputError: a run has not been trained, a set is not prepared, or a prompt is too long.
    """
    todo = pending_requests(order)
    if not todo:
        return 0
    sets = {name: load_set(order.params, name) for name in order.benchmarks}
    first = todo[0][0].checkpoint(order.params)
    with (
        open_engine_for(order, first, longest_sequence(order.params, list(sets.values()))) as engine,
        graders(order) as grader,
    ):
        previous = None
        for subject, names in todo:
            chosen = [sets[name] for name in names]
            checkpoint = subject.checkpoint(order.params)
            tokenizer, jobs = generation_batches(order.params, checkpoint, subject.variant, chosen)
            engine.load(checkpoint)
            logger.info("evaluating %s on %s", subject.name, ", ".join(names))
            drawn = generate(engine, jobs, chosen, grader, tokenizer)
            if previous is not None:
                previous.result()
            previous = grader.thread.submit(_save_policy_scores, order, subject, drawn, engine.name)
        if previous is not None:
            previous.result()
    return sum(len(names) for _, names in todo)


def pending_requests(order: EvaluationRequest) -> list[tuple[Policy, list[str]]]:
    """Subjects with the benchmarks on which they have no valid score.

    Raises:
        InputError: a subject has not been trained.
    """
    pairs = [
        (subject, missing(order.params, subject, list(order.benchmarks), order.root)) for subject in order.policies
    ]
    layout = StudyPaths.of(order.params)
    for subject, names in pairs:
        if names and isinstance(subject.run_or_model, Run) and read_manifest(layout.run(subject.run_or_model)) is None:
            raise InputError(f"run {subject.name} has not been trained; run `rlscale train {subject.name}` first")
    return [(subject, names) for subject, names in pairs if names]


@contextmanager
def open_engine_for(order: EvaluationRequest, checkpoint: Path, context: int) -> Iterator[Engine]:
    """Opens the engine the order asks for and closes it, whatever happens."""
    params = order.params
    if order.server is not None:
        from tasks.sampling.vllm.server_client import ServerEngine

        engine: Engine = ServerEngine(order.server)
    else:
        engine = open_engine(params.evaluate.engine, checkpoint, params.hardware, params.train.precision, context)
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def graders(order: EvaluationRequest) -> Iterator[Grader]:
    """A grading pool and the thread that feeds it; an error drops what is queued."""
    hardware = order.params.hardware
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="grading")
    with GradingPool(hardware.grading_workers, hardware.grading_seconds, hardware.grading_memory_mb) as pool:
        try:
            yield Grader(pool, thread)
        finally:
            thread.shutdown(wait=True, cancel_futures=True)


def generation_batches(
    params: Params, checkpoint: Path, variant: str, sets: Sequence[ProblemSet]
) -> tuple[PreTrainedTokenizerBase, list[GenerationBatch]]:
    """A policy's tokenizer, and its rendered prompts with their settings, set by set.

    Raises:
        InputError: a prompt is too long; it is named.
    """
    style, longest = getattr(params.train.prompt_style, variant), params.train.sampling.max_prompt_tokens
    benchmark = StudyPaths.of(params).benchmark
    rendered = [load_prompts(benchmark(entry.name), checkpoint, style, longest) for entry in sets]
    return rendered[0].tokenizer, [
        GenerationBatch(r.requests, entry.settings) for r, entry in zip(rendered, sets, strict=True)
    ]


def _save_policy_scores(order: EvaluationRequest, subject: Policy, drawn: list[GeneratedSet], engine: str) -> None:
    for part in drawn:
        graded = [future.result() for future in part.graded]
        rows = sorted((row for chunk in graded for row in chunk.rows), key=lambda row: row[0])
        samples = [sample for _, several in rows for sample in several]
        seconds = part.seconds + sum(chunk.seconds for chunk in graded)
        _save_pair(order, subject, part, samples, {"seconds": seconds, "engine": engine})


def _save_pair(
    order: EvaluationRequest, subject: Policy, part: GeneratedSet, samples: list[Sample], how: dict[str, Any]
) -> None:
    name = part.problems.name
    folder = score_folder(order.params, subject, name, order.root)
    score = score_of(subject.name, name, samples, order.params.evaluate.pass_at, how["engine"])
    facts = asdict(score)
    timed = dataclasses.replace(
        score, seconds=round(how["seconds"], 3), tokens_per_second=round(part.tokens / max(part.seconds, 1e-9), 1)
    )

    def body() -> tuple[list[str], dict[str, Any]]:
        write_samples(folder / SAMPLES, samples)
        write_json(folder / SCORE, asdict(timed))
        content = digest_text(canonical_json({"score": facts, "samples": digest_file(folder / SAMPLES)}))
        return [SAMPLES, SCORE], {"subject": subject.name, "benchmark": name, "content": content}

    once(folder, "evaluate", evaluate_fingerprint(order.params, subject.run_or_model, name), body)
