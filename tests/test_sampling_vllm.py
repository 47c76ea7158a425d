"""The vLLM engine, for real: one engine for all tests here, on the CPU build, against the transformers engine."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from support.studies import save_random_model, study_to_evaluate

from tasks.evaluate.run import EvaluationRequest, run_request
from tasks.grading import GradeRequest, GradingPool, Verdict
from tasks.records.metrics import read_metrics
from tasks.records.samples import read_samples
from tasks.sampling.engines import open_engine
from tasks.sampling.protocol import Completion, GenerationBatch, Request, SamplingSettings
from tasks.sampling.transformers_engine import TransformersEngine
from tasks.sampling.vllm.weights import state_dict
from tasks.study.errors import InputError
from tasks.study.grid import expand_grid
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.study.policies import benchmark_names, list_policies

pytestmark = [pytest.mark.vllm, pytest.mark.slow]
SIZE, CONTEXT = "7k", 36
GREEDY = SamplingSettings(n=1, temperature=0.0, top_p=1.0, max_tokens=12, seed=0)
ROLLOUT = SamplingSettings(n=4, temperature=1.0, top_p=1.0, max_tokens=12, seed=3, step=5)
NUCLEUS = SamplingSettings(n=2, temperature=0.7, top_p=0.8, max_tokens=8, seed=3, seed_domain="evaluate")
REQUESTS = [Request(f"p{i}", tuple(5 + (i * 7 + j * 3) % 12 for j in range(2 + i % 9))) for i in range(120)]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Params:
    return study_to_evaluate(tmp_path_factory.mktemp("vllm_study"), sizes=(SIZE,))


@pytest.fixture(scope="module")
def checkpoints(study: Params, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("checkpoints")
    for seed in range(3):
        save_random_model(study, SIZE, 50 + seed, folder / str(seed))
    return [folder / str(seed) for seed in range(3)]


@pytest.fixture(scope="module")
def engine(study: Params, checkpoints: list[Path]) -> Iterator[Any]:
    pytest.importorskip("vllm", reason="vLLM is not installed; `make setup ENGINE=vllm`")
    running = open_engine("vllm", checkpoints[0], study.hardware, "float32", CONTEXT)
    yield running
    running.close()


@pytest.fixture(scope="module")
def reference(checkpoints: list[Path]) -> TransformersEngine:
    return TransformersEngine(checkpoints[0])


class Borrowed:
    """The session's engine, lent to code that would open and close one of its own."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def close(self) -> None:
        """The fixture closes it."""


def by_length(answer: GradeRequest) -> Verdict:
    right = len(answer.completion) % 2 == 0
    return Verdict("right" if right else "wrong", float(right), None, "by length")


def tokens_of(rows: Sequence[Sequence[Completion]]) -> list[list[tuple[int, ...]]]:
    return [[completion.tokens for completion in row] for row in rows]


def largest_gap(mine: Sequence[Sequence[Completion]], theirs: Sequence[Sequence[Completion]]) -> float:
    pairs = [(a, b) for x, y in zip(mine, theirs, strict=True) for a, b in zip(x, y, strict=True)]
    return max(abs(p - q) for a, b in pairs for p, q in zip(a.logprobs, b.logprobs, strict=True))


@pytest.mark.parametrize("settings", [GREEDY, ROLLOUT, NUCLEUS], ids=["greedy", "rollout", "nucleus"])
def test_both_engines_give_the_same_completions_and_log_probabilities(
    engine: Any, reference: TransformersEngine, checkpoints: list[Path], settings: SamplingSettings
) -> None:
    for checkpoint in checkpoints[:2]:
        assert engine.load(checkpoint) == reference.load(checkpoint)
        mine, theirs = engine.generate(REQUESTS, settings), reference.generate(REQUESTS, settings)
        assert tokens_of(mine) == tokens_of(theirs)
        assert [[c.finish_reason for c in row] for row in mine] == [[c.finish_reason for c in row] for row in theirs]
        assert largest_gap(mine, theirs) < 1e-4


def test_finish_says_whether_the_end_was_drawn_or_the_limit_cut(engine: Any) -> None:
    rows = [completion for row in engine.generate(REQUESTS, ROLLOUT) for completion in row]
    assert {completion.finish_reason for completion in rows} == {"stop", "length"}
    for completion in rows:
        assert (completion.tokens[-1] == 0) == (completion.finish_reason == "stop")
        assert len(completion.tokens) == 12 or completion.finish_reason == "stop"
        assert len(completion.logprobs) == len(completion.tokens)


def test_a_completion_does_not_depend_on_what_else_is_in_the_batch(engine: Any) -> None:
    alone = engine.generate([REQUESTS[17]], ROLLOUT)
    assert tokens_of(alone)[0] == tokens_of(engine.generate(REQUESTS, ROLLOUT))[17]


def test_another_seed_or_step_gives_other_completions_and_the_same_gives_the_same(engine: Any) -> None:
    first = tokens_of(engine.generate(REQUESTS, ROLLOUT))
    assert tokens_of(engine.generate(REQUESTS, ROLLOUT)) == first
    assert tokens_of(engine.generate(REQUESTS, dataclasses.replace(ROLLOUT, seed=4))) != first
    assert tokens_of(engine.generate(REQUESTS, dataclasses.replace(ROLLOUT, step=6))) != first


def test_jobs_with_different_settings_share_a_batch_and_equal_separate_ones(engine: Any) -> None:
    jobs = [
        GenerationBatch(REQUESTS[:40], ROLLOUT),
        GenerationBatch(REQUESTS[40:70], NUCLEUS),
        GenerationBatch(REQUESTS[:5], GREEDY),
    ]
    together = {(job, place): completions for job, place, completions in engine.stream(jobs)}
    for number, job in enumerate(jobs):
        separate = engine.generate(job.requests, job.settings)
        assert tokens_of([together[number, place] for place in range(len(job.requests))]) == tokens_of(separate)


def test_a_stream_left_early_leaves_a_usable_engine(engine: Any) -> None:
    expected = tokens_of(engine.generate(REQUESTS[:3], GREEDY))
    for _ in engine.stream([GenerationBatch(REQUESTS, ROLLOUT)]):
        break
    assert tokens_of(engine.generate(REQUESTS[:3], GREEDY)) == expected


def test_weights_are_swapped_in_place_and_back(engine: Any, checkpoints: list[Path]) -> None:
    pids = engine.process.pids
    marks, outputs = [], []
    for index in (0, 1, 2, 0):
        marks.append(engine.load(checkpoints[index]))
        outputs.append(tokens_of(engine.generate(REQUESTS[:20], ROLLOUT)))
    assert marks[0] == marks[3]
    assert len(set(marks)) == 3
    assert outputs[0] == outputs[3]
    assert outputs[0] != outputs[1] != outputs[2]
    assert engine.process.pids == pids


def test_an_update_from_tensors_equals_loading_the_checkpoint(engine: Any, checkpoints: list[Path]) -> None:
    fingerprint = engine.load(checkpoints[2])
    expected = tokens_of(engine.generate(REQUESTS[:20], ROLLOUT))
    engine.load(checkpoints[0])
    assert engine.update(state_dict(checkpoints[2], torch.float32).items()) == fingerprint
    assert tokens_of(engine.generate(REQUESTS[:20], ROLLOUT)) == expected


def test_a_partial_update_is_refused_and_names_what_is_missing(engine: Any, checkpoints: list[Path]) -> None:
    from tasks.sampling.vllm.staging import StaleWeights

    fingerprint = engine.load(checkpoints[0])
    weights = state_dict(checkpoints[1], torch.float32)
    del weights["model.layers.0.mlp.up_proj.weight"]
    with pytest.raises(StaleWeights, match=r"missing \['model.layers.0.mlp.up_proj.weight'\]"):
        engine.update(weights.items())
    assert engine.fingerprint() == fingerprint


def test_workers_that_read_something_else_than_was_given_are_noticed(
    engine: Any, checkpoints: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.sampling.vllm import staging as vllm_staging
    from tasks.sampling.vllm.staging import StaleWeights

    engine.load(checkpoints[0])
    monkeypatch.setattr(vllm_staging, "write_staging_dir", lambda stage, weights: None)
    with pytest.raises(StaleWeights, match="read other weights than they were given"):
        engine.load(checkpoints[1])
    monkeypatch.undo()
    engine.load(checkpoints[0])


def test_an_engine_that_computes_with_old_weights_is_noticed_by_the_probe(
    engine: Any, checkpoints: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.sampling.vllm.probe import ProbeFailed

    engine.load(checkpoints[0])
    weights = state_dict(checkpoints[1], torch.float32)
    monkeypatch.setattr(type(engine), "_load_staged", lambda self, expected: expected)
    with pytest.raises(ProbeFailed, match="log-probs differ by"):
        engine.update(weights.items())
    monkeypatch.undo()
    engine.load(checkpoints[0])


def test_a_checkpoint_of_another_architecture_is_refused_by_name(engine: Any, study: Params, tmp_path: Path) -> None:
    save_random_model(study, "3k", 0, tmp_path / "other")
    with pytest.raises(InputError, match=r"other: hidden_size is 12, the running engine's model has 20"):
        engine.load(tmp_path / "other")


def test_a_prompt_that_does_not_fit_the_context_is_refused_by_name(engine: Any) -> None:
    with pytest.raises(InputError, match="problem long: 30 prompt tokens and 12 completion tokens do not fit"):
        engine.generate([REQUESTS[0], Request("long", (5,) * 30)], GREEDY)


def test_one_grpo_step_with_vllm_rollouts_equals_the_step_with_transformers_rollouts(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.train import run_engine as training
    from tasks.train.loop import train_job

    # Random models answer nothing right; grading by length gives groups whose rewards differ, hence gradients.
    monkeypatch.setattr(GradingPool, "grade", lambda _, answers: [by_length(answer) for answer in answers])
    rows = {}
    for kind in ("vllm", "transformers"):
        (tmp_path / kind).mkdir()
        params = study_to_evaluate(tmp_path / kind, sizes=(SIZE,))
        sizes = {"engine": kind, "steps": 1, "batch": 8, "minibatch": 4, "group_size": 4}
        params = params.model_copy(update={"train": params.train.model_copy(update=sizes)})
        opener = (lambda *_, **__: Borrowed(engine)) if kind == "vllm" else open_engine
        monkeypatch.setattr(training, "open_engine", opener)
        run = expand_grid(params)[0]
        folder = StudyPaths.of(params).run(run)
        folder.mkdir(parents=True, exist_ok=True)
        train_job(params.model_dump_json(), dataclasses.asdict(run), "mark")
        rows[kind] = read_metrics(StudyPaths.of(params).metrics(run))[1]
    mine, theirs = rows["vllm"], rows["transformers"]
    assert mine.sampler_fingerprint is not None
    assert (mine.reward_mean, mine.tokens, mine.test_right) == (theirs.reward_mean, theirs.tokens, theirs.test_right)
    assert mine.grad_norm is not None
    assert mine.grad_norm > 1e-3
    assert mine.grad_norm == pytest.approx(theirs.grad_norm, rel=1e-3, abs=1e-6)
    assert mine.mismatch_kl is not None
    assert mine.mismatch_kl < 1e-8
    assert mine.mismatch_share == 0.0


def test_an_evaluation_whose_engine_hangs_in_the_middle_ends_with_the_same_samples(
    engine: Any, study: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Last, because the engine's process is lost here: stopped, found hanging, killed, replaced, asked again."""
    from tasks.evaluate import run as evaluation

    subjects, names = tuple(list_policies(study)), benchmark_names(study)
    run_request(EvaluationRequest(study, subjects, names))
    old = engine.process.pids

    class StopsInTheMiddle(Borrowed):
        started = 0

        def stream(self, jobs: Sequence[GenerationBatch]) -> Iterator[tuple[int, int, list[Completion]]]:
            for number, item in enumerate(self.engine.stream(jobs)):
                yield item
                if self.started == 1 and number == 2:
                    os.kill(old[0], signal.SIGSTOP)
                    self.engine.process.timeout_s = 3.0
            self.started += 1

    monkeypatch.setattr(evaluation, "open_engine", lambda *_, **__: StopsInTheMiddle(engine))
    assert run_request(EvaluationRequest(study, subjects, names, root=tmp_path)) == len(subjects) * len(names)
    assert engine.process.pids != old
    for subject in subjects:
        for name in names:
            mine = read_samples(StudyPaths.of(study).samples(subject, name, tmp_path))
            assert mine == read_samples(StudyPaths.of(study).samples(subject, name))
