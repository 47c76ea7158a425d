"""One engine, many checkpoints: evaluates the policies of a size, writes each (policy, benchmark) pair when done.

A pair is a folder with a manifest written last, so a killed evaluation continues at the missing pairs. The grading of
one policy overlaps with the sampling of the next.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.evaluate.generate import GeneratedSet, Grader, generate, load_set, sampling_settings
from tasks.grading import GradingPool
from tasks.records.models import policy_checkpoint
from tasks.records.samples import Sample, write_samples
from tasks.records.scores import Score, score_of
from tasks.sampling.engines import open_engine
from tasks.sampling.protocol import Engine
from tasks.study.errors import InputError
from tasks.study.fingerprints import evaluate_fingerprint
from tasks.study.manifests import canonical_json, digest_file, digest_text, is_complete, once, read_manifest, write_json
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.study.policies import StudyPolicy

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate, and how.

    Attributes:
        params: the study; `evaluate.engine` names the engine.
        policies: policies of one size.
        benchmarks: names of the sets.
        root: folder instead of `data/evaluate`, for an engine that is not the study's own.
        server: URL of a running server to use instead of an engine of our own.
    """

    params: Params
    policies: tuple[StudyPolicy, ...]
    benchmarks: tuple[str, ...]
    root: Path | None = None
    server: str | None = None


def run_request(request: EvaluationRequest) -> int:
    """Evaluates what is missing; returns how many pairs were done now.

    Raises:
        InputError: a run has not been trained, a set is not prepared, or a prompt is too long.
    """
    params = request.params
    pending = [(policy, policy_checkpoint(params, policy), names) for policy, names in pending_requests(request)]
    if not pending:
        return 0
    work = [
        (policy, checkpoint, [load_set(params, policy, checkpoint, name) for name in names])
        for policy, checkpoint, names in pending
    ]
    completion = max(sampling_settings(params, name).max_tokens for name in request.benchmarks)
    context = params.train.sampling.max_prompt_tokens + completion
    with open_engine_for(request, work[0][1], context) as engine, graders(request) as grader:
        previous = None
        for policy, checkpoint, sets in work:
            engine.load(checkpoint)
            logger.info("evaluating %s on %s", policy.name, ", ".join(entry.name for entry in sets))
            generated = generate(engine, sets, grader)
            if previous is not None:
                previous.result()
            previous = grader.thread.submit(_save_policy, request, policy, generated, engine.name)
        if previous is not None:
            previous.result()
    return sum(len(sets) for _, _, sets in work)


def pending_requests(request: EvaluationRequest) -> list[tuple[StudyPolicy, list[str]]]:
    """Policies with the benchmarks on which they have no valid score.

    Raises:
        InputError: a policy's run has not been trained.
    """
    params = request.params
    pairs = [(policy, missing(params, policy, request.benchmarks, request.root)) for policy in request.policies]
    for policy, names in pairs:
        if names and policy.run and read_manifest(StudyPaths.of(params).run(policy.run)) is None:
            raise InputError(f"run {policy.name} has not been trained; run `rlscale train {policy.name}` first")
    return [(policy, names) for policy, names in pairs if names]


def missing(params: Params, policy: StudyPolicy, benchmarks: Sequence[str], root: Path | None = None) -> list[str]:
    """The benchmarks on which a policy has no valid score yet."""
    paths = StudyPaths.of(params)
    return [
        name
        for name in benchmarks
        if not is_complete(paths.evaluation(policy, name, root), evaluate_fingerprint(params, policy, name))
    ]


@contextmanager
def open_engine_for(request: EvaluationRequest, checkpoint: Path, context: int) -> Iterator[Engine]:
    """Opens the engine of the request and closes it, whatever happens."""
    params = request.params
    if request.server is not None:
        from tasks.sampling.vllm.server_client import ServerEngine

        engine: Engine = ServerEngine(request.server)
    else:
        hardware = params.hardware.of_size(request.policies[0].size)
        engine = open_engine(params.evaluate.engine, checkpoint, hardware, params.train.precision, context)
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def graders(request: EvaluationRequest) -> Iterator[Grader]:
    """A grading pool and the thread that feeds it; an error drops what is queued."""
    hardware = request.params.hardware
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="grading")
    with GradingPool(hardware.grading_workers, hardware.grading_seconds, hardware.grading_memory_mb) as pool:
        try:
            yield Grader(pool, thread)
        finally:
            thread.shutdown(wait=True, cancel_futures=True)


def _save_policy(request: EvaluationRequest, policy: StudyPolicy, sets: list[GeneratedSet], engine: str) -> None:
    for part in sets:
        graded = [future.result() for future in part.graded]
        rows = sorted((row for chunk in graded for row in chunk.rows), key=lambda row: row[0])
        samples = [sample for _, group in rows for sample in group]
        seconds = part.seconds + sum(chunk.seconds for chunk in graded)
        score = score_of(policy.name, part.name, samples, request.params.evaluate.pass_at, engine)
        rate = round(part.tokens / max(part.seconds, 1e-9), 1)
        _save_pair(
            request, policy, samples, dataclasses.replace(score, seconds=round(seconds, 3), tokens_per_second=rate)
        )


def _save_pair(request: EvaluationRequest, policy: StudyPolicy, samples: list[Sample], score: Score) -> None:
    params, paths, name = request.params, StudyPaths.of(request.params), score.benchmark
    samples_path, score_path = (path(policy, name, request.root) for path in (paths.samples, paths.score))

    def body() -> tuple[list[str], dict[str, Any]]:
        write_samples(samples_path, samples)
        write_json(score_path, asdict(score))
        content = {"score": asdict(score.without_times()), "samples": digest_file(samples_path)}
        facts = {"subject": policy.name, "benchmark": name, "content": digest_text(canonical_json(content))}
        return [samples_path.name, score_path.name], facts

    folder = paths.evaluation(policy, name, request.root)
    once(folder, "evaluate", evaluate_fingerprint(params, policy, name), body)
