"""Held-out evaluation and the next step's rollouts in one batch: same rows, also after an interruption."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.studies import copy_study, numbers, study_to_train

from tasks.sampling.protocol import Completion, GenerationBatch
from tasks.sampling.transformers_engine import TransformersEngine
from tasks.study.grid import Run
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.train import run_engine
from tasks.train.loop import train_job

pytestmark = pytest.mark.slow

STEPS = 4
Source = tuple[Params, Run]


class TogetherEngine(TransformersEngine):
    """Samples batches of different settings in one call, and returns what comes last first."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.calls: list[list[tuple[str, int]]] = []

    def stream(self, batches: Sequence[GenerationBatch]) -> Iterator[tuple[int, int, list[Completion]]]:
        self.calls.append([(batch.settings.seed_domain, batch.settings.step) for batch in batches])
        for index, batch in reversed(list(enumerate(batches))):
            for request, completions in reversed(list(enumerate(self.generate(batch.requests, batch.settings)))):
                yield index, request, completions


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A run of an engine that samples one batch after another; the held-out set is left out after steps 1 and 3."""
    heldout = {"temperature": 0.7, "top_p": 1.0, "samples": 1, "every": 2}
    params, run = study_to_train(tmp_path_factory.mktemp("plain"), train={"steps": STEPS, "heldout": heldout})
    _train(params, run)
    return params, run


def _train(params: Params, run: Run) -> None:
    train_job(params.model_dump_json(), dataclasses.asdict(run), "mark")


def _together(source: Params, run: Run, root: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Params, TogetherEngine]:
    train = {"steps": STEPS, "heldout": source.train.heldout.model_dump()}
    params, copied = copy_study(source, root, train=train)
    assert copied == run
    engine = TogetherEngine(StudyPaths.of(params).model(run.model))
    monkeypatch.setattr(run_engine, "open_engine", lambda *_, **__: engine)
    return params, engine


def test_rows_are_those_of_sampling_one_batch_after_another(
    plain: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, run = plain
    params, engine = _together(source, run, tmp_path / "study", monkeypatch)
    _train(params, run)
    assert numbers(params, run) == numbers(source, run)
    assert engine.calls == [[("heldout", 0), ("rollout", 1)], [("heldout", 2), ("rollout", 3)]]
    rows = StudyPaths.of(params).metrics(run).read_text().splitlines()
    assert all('"rollout": ' in row for row in rows[1:])


@pytest.mark.parametrize("checkpoint", [2, 3])
def test_a_resumed_run_samples_in_the_same_batches(
    checkpoint: int, plain: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, run = plain
    params, engine = _together(source, run, tmp_path / "study", monkeypatch)
    _train(params, run)
    done = StudyPaths.of(params)
    for later in range(checkpoint + 1, STEPS):
        shutil.rmtree(done.checkpoints(run) / f"step-{later:06d}")
    shutil.rmtree(done.final(run))
    engine.load(done.model(run.model))
    engine.calls.clear()
    _train(params, run)
    assert numbers(params, run) == numbers(source, run)
    assert engine.calls == ([[("heldout", 2), ("rollout", 3)]] if checkpoint == 2 else [])
