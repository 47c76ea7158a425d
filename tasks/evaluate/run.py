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

from tasks.evaluate.generate import Drawn, Grader, draw
from tasks.evaluate.policies import Subject, folder_of, missing
from tasks.evaluate.problem_sets import ProblemSet, load_set, longest_sequence
from tasks.evaluate.samples import Sample, score_of, write_samples
from tasks.grading import GradingPool
from tasks.sampling.engines import open_engine
from tasks.sampling.prompts import rendered_set
from tasks.sampling.protocol import Engine, Job
from tasks.study.errors import InputError
from tasks.study.fingerprints import evaluate_mark
from tasks.study.grid import Run
from tasks.study.manifests import canonical_json, digest_file, digest_text, once, read_manifest, write_json
from tasks.study.params import Params
from tasks.study.paths import Layout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

SAMPLES, SCORE = "samples.parquet", "score.json"


@dataclass(frozen=True)
class Order:
    """What to evaluate, and how.

    Attributes:
        params: the study; `evaluate.engine` names the engine.
        subjects: policies of one size.
        benchmarks: names of the sets.
        root: folder instead of `data/evaluate`, for an engine that is not the study's own.
        server: URL of a running server to ask instead of an engine of our own.
    """

    params: Params
    subjects: tuple[Subject, ...]
    benchmarks: tuple[str, ...]
    root: Path | None = None
    server: str | None = None


def evaluate_order(order: Order) -> int:
    """Evaluates what is missing; returns how many pairs were done now.

    Raises:
        InputError: a run has not been trained, a set is not prepared, or a prompt is too long.
    """
    todo = outstanding(order)
    if not todo:
        return 0
    sets = {name: load_set(order.params, name) for name in order.benchmarks}
    first = todo[0][0].checkpoint(order.params)
    with opened(order, first, longest_sequence(order.params, list(sets.values()))) as engine, graders(order) as grader:
        previous = None
        for subject, names in todo:
            chosen = [sets[name] for name in names]
            checkpoint = subject.checkpoint(order.params)
            tokenizer, jobs = jobs_of(order.params, checkpoint, subject.variant, chosen)
            engine.load(checkpoint)
            logger.info("evaluating %s on %s", subject.name, ", ".join(names))
            drawn = draw(engine, jobs, chosen, grader, tokenizer)
            if previous is not None:
                previous.result()
            previous = grader.thread.submit(_save_subject, order, subject, drawn, engine.name)
        if previous is not None:
            previous.result()
    return sum(len(names) for _, names in todo)


def outstanding(order: Order) -> list[tuple[Subject, list[str]]]:
    """Subjects with the benchmarks on which they have no valid score.

    Raises:
        InputError: a subject has not been trained.
    """
    pairs = [
        (subject, missing(order.params, subject, list(order.benchmarks), order.root)) for subject in order.subjects
    ]
    layout = Layout.of(order.params)
    for subject, names in pairs:
        if names and isinstance(subject.work, Run) and read_manifest(layout.run(subject.work)) is None:
            raise InputError(f"run {subject.name} has not been trained; run `rlscale train {subject.name}` first")
    return [(subject, names) for subject, names in pairs if names]


@contextmanager
def opened(order: Order, checkpoint: Path, context: int) -> Iterator[Engine]:
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
def graders(order: Order) -> Iterator[Grader]:
    """A grading pool and the thread that feeds it; an error drops what is queued."""
    hardware = order.params.hardware
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="grading")
    with GradingPool(hardware.grading_workers, hardware.grading_seconds, hardware.grading_memory_mb) as pool:
        try:
            yield Grader(pool, thread)
        finally:
            thread.shutdown(wait=True, cancel_futures=True)


def jobs_of(
    params: Params, checkpoint: Path, variant: str, sets: Sequence[ProblemSet]
) -> tuple[PreTrainedTokenizerBase, list[Job]]:
    """A policy's tokenizer, and its rendered prompts with their settings, set by set.

    Raises:
        InputError: a prompt is too long; it is named.
    """
    style, longest = getattr(params.train.prompt_style, variant), params.train.sampling.max_prompt_tokens
    benchmark = Layout.of(params).benchmark
    rendered = [rendered_set(benchmark(entry.name), checkpoint, style, longest) for entry in sets]
    return rendered[0].tokenizer, [Job(r.requests, entry.settings) for r, entry in zip(rendered, sets, strict=True)]


def _save_subject(order: Order, subject: Subject, drawn: list[Drawn], engine: str) -> None:
    for part in drawn:
        graded = [future.result() for future in part.graded]
        rows = sorted((row for chunk in graded for row in chunk.rows), key=lambda row: row[0])
        samples = [sample for _, several in rows for sample in several]
        seconds = part.seconds + sum(chunk.seconds for chunk in graded)
        _save_pair(order, subject, part, samples, {"seconds": seconds, "engine": engine})


def _save_pair(order: Order, subject: Subject, part: Drawn, samples: list[Sample], how: dict[str, Any]) -> None:
    name = part.problems.name
    folder = folder_of(order.params, subject, name, order.root)
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

    once(folder, "evaluate", evaluate_mark(order.params, subject.work, name), body)
