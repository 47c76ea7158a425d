"""Checkpoints on disk, resuming from what a kill leaves, damage, pruning, and the guard against NaN; one process."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from support.studies import copy_study, numbers, study_to_train
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from tasks.study.errors import InputError
from tasks.study.grid import Run
from tasks.study.manifests import MANIFEST
from tasks.study.params import Checkpoints, Params
from tasks.study.paths import StudyPaths
from tasks.train.checkpoint_folder import (
    delete_checkpoints_after,
    find_complete_checkpoint,
    prune_checkpoints,
    remove_resumable,
)
from tasks.train.checkpoints import (
    SINGLE_PROCESS,
    CheckpointWriter,
    RankGroup,
    TrainerState,
    find_verified_checkpoint,
    read_parts,
    read_state,
    save_checkpoint,
    save_tensors,
    shard_file_name,
)
from tasks.train.final_weights import write_pretrained
from tasks.train.loop import train_job
from tasks.train.sharded_files import ShardedSafetensors
from tasks.train.update import TrainingDiverged

TRAIN = {"steps": 4, "batch": 8, "group_size": 4, "minibatch": 4}
KEEP = {"every": 1, "keep_last": 3}
MARK = "tiny"
Study = tuple[Params, Run]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Params:
    return study_to_train(tmp_path_factory.mktemp("source"), train=TRAIN, checkpoints=KEEP)[0]


@pytest.fixture(scope="module")
def whole(source: Params, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A run that was never interrupted, with checkpoints of steps 1 to 3."""
    study = copy_study(source, tmp_path_factory.mktemp("whole"), train=TRAIN, checkpoints=KEEP)
    _train(study)
    return study


@pytest.fixture
def killed(source: Params, whole: Study, tmp_path: Path) -> Study:
    """The same run as a kill during step 4 leaves it."""
    study = copy_study(source, tmp_path / "killed", train=TRAIN, checkpoints=KEEP)
    done, folder = _folder(whole), _folder(study)
    shutil.copytree(done / "checkpoints", folder / "checkpoints")
    rows = (done / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(rows[:4]) + rows[4][:40])
    return study


def _train(study: Study) -> None:
    params, run = study
    train_job(params.model_dump_json(), asdict(run), MARK)


def _folder(study: Study) -> Path:
    return StudyPaths.of(study[0]).run(study[1])


def _step(study: Study, step: int) -> Path:
    return _folder(study) / "checkpoints" / f"step-{step:06d}"


def _assert_equal(first: Study, second: Study) -> None:
    assert numbers(*first) == numbers(*second)
    name = "final/model.safetensors"
    assert (_folder(first) / name).read_bytes() == (_folder(second) / name).read_bytes()


def test_a_run_killed_while_writing_a_row_goes_on_from_its_last_checkpoint(killed: Study, whole: Study) -> None:
    _train(killed)
    _assert_equal(killed, whole)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    killed: Study, whole: Study, caplog: pytest.LogCaptureFixture
) -> None:
    path = _step(killed, 3) / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        _train(killed)
    assert f"{_step(killed, 3)} is damaged (weights.safetensors)" in caplog.text
    _assert_equal(killed, whole)


def test_a_half_written_checkpoint_is_passed_over(killed: Study, whole: Study) -> None:
    (_step(killed, 3) / MANIFEST).unlink()
    (_step(killed, 2) / "optimizer.safetensors").write_bytes(b"")
    _train(killed)
    _assert_equal(killed, whole)


def test_a_run_without_any_good_checkpoint_starts_again(killed: Study, whole: Study) -> None:
    for step in (1, 2, 3):
        (_step(killed, step) / "state.json").write_text("{}")
    _train(killed)
    _assert_equal(killed, whole)


def test_a_checkpoint_of_another_fingerprint_is_never_resumed(killed: Study) -> None:
    folder = _folder(killed) / "checkpoints"
    assert find_verified_checkpoint(folder, "another") is None
    assert find_complete_checkpoint(folder, "another") is None
    assert find_verified_checkpoint(folder, MARK) == find_complete_checkpoint(folder, MARK) == _step(killed, 3)


def test_no_checkpoint_is_ahead_of_the_rows_and_counters_agree_with_them(whole: Study) -> None:
    rows = {row["step"]: row for row in numbers(*whole)}
    for step in (1, 2, 3):
        state = read_state(_step(whole, step))
        row = rows[step]
        assert (state.data, state.tokens, state.flops_total) == (row["data"], row["tokens"], row["flops_total"])
    assert not _step(whole, 4).exists()  # the final weights take its place


def test_a_loss_that_is_no_number_stops_the_run_and_names_step_problems_and_checkpoint(killed: Study) -> None:
    params, run = killed
    wild = params.train.optimizer.model_copy(update={"learning_rate": 1e38})
    train = params.train.model_copy(update={"optimizer": wild})
    with pytest.raises(TrainingDiverged) as caught:
        _train((params.model_copy(update={"train": train}), run))
    message = str(caught.value)
    assert f"{run.run_id} step 4 (problems train-" in message
    assert "nan" in message
    assert message.endswith(f"last good checkpoint: {_step(killed, 3)}")
    assert [row["step"] for row in numbers(params, run)] == [0, 1, 2, 3]


def _save(folder: Path, step: int, crew: RankGroup | None = None, rows: torch.Tensor | None = None) -> None:
    tensors = {"w": torch.arange(6.0).view(3, 2) if rows is None else rows}
    parts = {"weights": tensors, "optimizer": {"0.step": torch.tensor(float(step))}}
    save_checkpoint(folder, MARK, TrainerState(step=step), parts, *([crew] if crew else []))


def _kept(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in folder.iterdir())


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        (Checkpoints(every=1, keep_last=1), [9]),
        (Checkpoints(every=1, keep_last=3), [7, 8, 9]),
        (Checkpoints(every=1, keep_last=1, keep_every=4), [4, 8, 9]),
    ],
)
def test_pruning_keeps_the_last_ones_and_every_so_manieth(tmp_path: Path, keep: Checkpoints, kept: list[int]) -> None:
    for step in range(1, 10):
        _save(tmp_path, step)
        prune_checkpoints(tmp_path, keep)
    assert _kept(tmp_path) == kept


def test_what_was_never_finished_does_not_count_as_the_last_checkpoint(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        _save(tmp_path, step)
    (tmp_path / "step-000003" / MANIFEST).unlink()
    prune_checkpoints(tmp_path, Checkpoints(every=1, keep_last=1))
    assert _kept(tmp_path) == [2]


def test_checkpoints_beyond_the_one_resumed_are_removed(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        _save(tmp_path, step)
    delete_checkpoints_after(tmp_path, 2)
    assert _kept(tmp_path) == [1, 2]


def test_writing_a_step_again_replaces_it_whole(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    (tmp_path / "step-000001" / "leftover").touch()
    _save(tmp_path, 1)
    names = {path.name for path in (tmp_path / "step-000001").iterdir()}
    assert names == {"weights.safetensors", "optimizer.safetensors", "state.json", MANIFEST}


def test_parts_of_several_writers_read_as_one_set_of_rows(tmp_path: Path) -> None:
    whole = torch.randn(5, 3)
    for rank, rows in enumerate((whole[:2], whole[2:4], whole[4:], whole[5:])):
        save_tensors(tmp_path / shard_file_name("weights", rank, 4), {"w": rows, "step": torch.tensor(7.0)})
    files = ShardedSafetensors([tmp_path / shard_file_name("weights", rank, 4) for rank in range(4)])
    assert torch.equal(files.full("w"), whole)
    for start in range(5):
        for stop in range(start, 6):
            assert torch.equal(files.rows("w", start, stop), whole[start:stop])
    assert files.full("step") == 7.0
    with pytest.raises(InputError, match="no tensor v"):
        files.full("v")


def test_a_file_missing_on_one_process_makes_the_checkpoint_damaged_for_all(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    (tmp_path / "step-000001" / "weights.safetensors").unlink()
    broken = json.loads((tmp_path / "step-000001" / MANIFEST).read_text())["files"]
    answers = {rank: RankGroup(rank, 3, 1, lambda value: [value]) for rank in range(3)}
    found = [find_verified_checkpoint(tmp_path, MARK, crew) for crew in answers.values()]
    assert len(broken) == 3
    assert found.count(None) == 1  # each file is read by one process; `exchange` tells the others


def test_a_checkpoint_reads_back_what_was_written(tmp_path: Path) -> None:
    _save(tmp_path, 5)
    found = find_verified_checkpoint(tmp_path, MARK)
    assert found is not None
    assert read_state(found).step == 5
    assert torch.equal(read_parts(found, "weights").full("w"), torch.arange(6.0).view(3, 2))
    assert read_parts(found, "optimizer").names() == ["0.step"]


# Writing beside the training


class _Held:
    """A crew of one whose every gathering waits until it is let go, as for a rank that is slow to write."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.reached = threading.Event()

    def gather(self, value: Any) -> list[Any]:
        self.reached.set()
        assert self.go.wait(60)
        return [value]


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(tmp_path: Path) -> None:
    _save(tmp_path, 1)
    held = _Held()
    writer = CheckpointWriter(tmp_path, MARK, Checkpoints(every=1), RankGroup(0, 1, 1, held.gather))
    weights = torch.arange(6.0)
    writer.start(TrainerState(step=2), {"weights": {"w": weights}, "optimizer": {}})
    weights.zero_()  # the training goes on
    assert held.reached.wait(60)
    assert (tmp_path / "step-000002").exists()
    assert find_verified_checkpoint(tmp_path, MARK) == tmp_path / "step-000001"  # what a kill now would leave
    held.go.set()
    writer.wait()
    assert _kept(tmp_path) == [2]
    assert torch.equal(read_parts(tmp_path / "step-000002", "weights").full("w"), torch.arange(6.0))


def test_what_goes_wrong_in_writing_is_raised_in_the_training_with_the_rank(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    writer = CheckpointWriter(tmp_path / "file", MARK, Checkpoints(every=1), SINGLE_PROCESS)
    writer.start(TrainerState(step=1), {"weights": {}, "optimizer": {}})
    with pytest.raises(RuntimeError, match="rank 0: NotADirectoryError"):
        writer.wait()
    writer.wait()  # said once


@pytest.mark.parametrize(("keep_every", "kept"), [(None, None), (2, [2, 4])])
def test_of_a_finished_run_milestones_alone_stay(
    tmp_path: Path, keep_every: int | None, kept: list[int] | None
) -> None:
    folder = tmp_path / "checkpoints"
    for step in (1, 2, 4, 5):
        _save(folder, step)
    remove_resumable(folder, Checkpoints(every=1, keep_last=3, keep_every=keep_every))
    assert (_kept(folder) if folder.exists() else None) == kept
    remove_resumable(folder, Checkpoints(every=1))
    assert not folder.exists()


# The final policy


@pytest.mark.parametrize(("world_size", "num_files"), [(1, 1), (3, 5)])
def test_the_final_policy_is_written_by_all_processes_and_loads(
    tmp_path: Path, world_size: int, num_files: int
) -> None:
    config = Qwen2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1)
    config.intermediate_size, config.vocab_size, config.tie_word_embeddings = 24, 23, world_size > 1
    model = Qwen2ForCausalLM(config).bfloat16()
    (tmp_path / "model.safetensors").write_text("left by another attempt")
    crew = _Crew(world_size)
    total = sum(p.numel() for p in model.parameters()) * 2

    def write(rank: int) -> None:
        ranks = RankGroup(rank, world_size, world_size, lambda value: crew.gather(rank, value))
        size = total if num_files == 1 else total // 4
        write_pretrained(tmp_path, model, model.state_dict().items(), torch.bfloat16, ranks, size)

    with ThreadPoolExecutor(world_size) as threads:
        list(threads.map(write, range(world_size)))
    assert len(list(tmp_path.glob("*.safetensors"))) == num_files
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    files = ShardedSafetensors.of_checkpoint(tmp_path)
    assert torch.equal(files.full("model.norm.weight"), model.model.norm.weight)


class _Crew:
    """Processes as threads: each gathering takes one value of every rank."""

    def __init__(self, world_size: int) -> None:
        self._values: list[Any] = [None] * world_size
        self._barrier = threading.Barrier(world_size)

    def gather(self, rank: int, value: Any) -> list[Any]:
        self._values[rank] = value
        self._barrier.wait(60)
        values = list(self._values)
        self._barrier.wait(60)
        return values


def test_a_process_that_cannot_write_fails_all_of_them(tmp_path: Path) -> None:
    crew = _Crew(2)

    def work(rank: int) -> str:
        ranks = RankGroup(rank, 2, 2, lambda value: crew.gather(rank, value))
        with pytest.raises(RuntimeError, match="rank 1: OSError: no space left") as caught:
            ranks.do_together(lambda: _fail("no space left") if rank else None)
        return str(caught.value)

    with ThreadPoolExecutor(2) as threads:
        assert len(set(threads.map(work, (0, 1)))) == 1


def _fail(message: str) -> None:
    raise OSError(message)
