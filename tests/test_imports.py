"""Other trainers' logs: what is taken for what, and what is asked; each log is written here in its format's layout."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support import shared_folder
from support.report_study import make_finished_study

from flows.cli.main import main
from tasks.fit.data.columns import Columns, resolve
from tasks.fit.data.groups import groups_of
from tasks.fit.data.sources import read_sources
from tasks.fit.data.table import Table
from tasks.imports.metric_choice import Scale
from tasks.imports.model_size import size_in
from tasks.imports.points import ImportOptions
from tasks.study.errors import InputError
from tasks.study.paths import StudyPaths


def load(path: Path, **options: object) -> tuple[Table, list[str]]:
    return read_sources([path], ImportOptions(**options))  # type: ignore[arg-type]


def rows(table: Table, *names: str) -> list[tuple[object, ...]]:
    return list(zip(*(table.values[name] for name in names), strict=True))


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


VERL = """\
Qwen2ForCausalLM contains 494.03M parameters
python3 -m verl.trainer.main_ppo data.train_batch_size=128 actor_rollout_ref.rollout.n=5 trainer.total_epochs=1
(main_task pid=7) step:0 - val/test_score/openai/gsm8k:0.250
(main_task pid=7) \x1b[36mstep:0 - actor/pg_loss:-0.02 - prompt_length/mean:100.0 - response_length/mean:200.0\x1b[0m
(main_task pid=7) step:1 - actor/pg_loss:0.01 - prompt_length/mean:100.0 - response_length/mean:300.0 - \
val/test_score/openai/gsm8k:0.375
"""


def test_verl_console_that_counts_from_zero(tmp_path: Path) -> None:
    table, (note,) = load(write(tmp_path / "run.log", VERL))
    assert rows(table, "step", "test_loss", "data") == [(0, 0.75, 0), (2, 0.625, 256)]
    assert table.values["tokens"] == [0, 128 * 5 * (300 + 400)]
    assert table.values["compute"] == [0, 6 * 494.03e6 * 128 * 5 * 700]
    for words in ("N = 494M (column n_params '494.03M')", "1 - val/test_score/openai/gsm8k", "moved up by one"):
        assert words in note


def test_verl_console_that_counts_from_one_sums_its_tokens(tmp_path: Path) -> None:
    lines = ["(TaskRunner pid=1) step:0 - val-core/math/reward/mean@1:np.float64(0.2)"]
    lines += [f"step:{s} - perf/total_num_tokens:{s}00.0 - actor/lr:0.0" for s in (1, 2, 4)]
    lines[-1] += " - val-core/math/reward/mean@1:0.5 - val-core/math/reward/best@8/mean:0.9"
    table, (note,) = load(write(tmp_path / "qwen2.5-7b.log", "\n".join(lines) + "\n"))
    assert rows(table, "step", "test_loss") == [(0, 0.8), (4, 0.5)]
    assert table.values["tokens"] == pytest.approx([0, 100 + 200 + 700 / 3 + 400])
    assert "1 of 4 steps lack it" in note
    assert table.values["n_params"] == [7e9, 7e9]


def test_verl_file_logger_is_read_like_the_console(tmp_path: Path) -> None:
    lines = [
        {"step": s, "data": {"val-core/gsm8k/acc/mean@4": 0.1 * s, "perf/total_num_tokens": 50}} for s in (1, 2, 3)
    ]
    path = write(tmp_path / "metrics_1.5b.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    table, _ = load(path)
    assert rows(table, "step", "tokens", "size") == [(1, 50, "1.5B"), (2, 100, "1.5B"), (3, 150, "1.5B")]


WIDE = "Step,0.6b,14b\n0,0.30,0.80\n10,0.50,\n20,,0.90\n30,0.65,0.95\n40,0.7,0.95\n50,0.7,0.96\n"


def test_wandb_chart_cleaned_by_hand_is_wide_by_size(tmp_path: Path) -> None:
    table, notes = load(write(tmp_path / "wandb.csv", WIDE), batch=512)
    assert rows(table, "n_params", "step", "data") == [
        (6e8, 0, 0),
        (6e8, 10, 5120),
        (6e8, 30, 15360),
        (6e8, 40, 20480),
        (6e8, 50, 25600),
        (14e9, 0, 0),
        (14e9, 20, 10240),
        (14e9, 30, 15360),
        (14e9, 40, 20480),
        (14e9, 50, 25600),
    ]
    assert table.values["test_loss"] == pytest.approx([0.7, 0.5, 0.35, 0.3, 0.3, 0.2, 0.1, 0.05, 0.05, 0.04])
    assert "loss = 1 - value" in notes[0]


def test_wandb_chart_drops_the_bounds_and_names_runs(tmp_path: Path) -> None:
    names = ["a-7B - eval/acc", "a-7B - eval/acc__MIN", "a-7B - eval/acc__MAX", "b-3B - eval/acc"]
    text = ",".join(f'"{name}"' for name in ["Step", *names]) + "\n5,0.5,0,1,0.25\n6,0.6,0,1,0.3\n"
    table, _ = load(write(tmp_path / "chart.csv", text))
    assert rows(table, "run_id", "n_params", "step") == [
        ("a-7B", 7e9, 5),
        ("a-7B", 7e9, 6),
        ("b-3B", 3e9, 5),
        ("b-3B", 3e9, 6),
    ]


def test_wandb_runs_table_has_a_run_a_row(tmp_path: Path) -> None:
    text = (
        "Name,State,Created,model_size,_step,validation/accuracy\na,finished,x,7B,100,0.6\nb,finished,x,1.5B,80,0.4\n"
    )
    table, _ = load(write(tmp_path / "runs.csv", text), batch=10)
    assert rows(table, "run_id", "n_params", "step", "data", "test_loss") == [
        ("a", 7e9, 100, 1000, 0.4),
        ("b", 1.5e9, 80, 800, 0.6),
    ]


def test_wandb_history_with_gaps(tmp_path: Path) -> None:
    text = "_step,eval/math/avg@8,progress/total_tokens,loss\n0,0.25,,\n1,,1000,0.3\n2,0.5,2000,0.2\n"
    table, _ = load(write(tmp_path / "history-3B.csv", text))
    assert rows(table, "step", "tokens", "test_loss") == [(0, 0.0, 0.75), (2, 2000.0, 0.5)]


def trainer_state(**metrics: list[float]) -> str:
    rows = [{"step": 5 * i, "num_tokens": 100.0 * i, "loss": 0.01} for i in range(1, 4)]
    for name, values in metrics.items():
        for row, value in zip(rows, values, strict=True):
            row[name.replace("__", "/")] = value
    return json.dumps({"log_history": rows, "global_step": 15}, indent=1)


def test_trl_evaluation_reward_is_taken_and_loss_never(tmp_path: Path) -> None:
    text = trainer_state(rewards__accuracy__mean=[0.1, 0.2, 0.3], eval_rewards__accuracy__mean=[0.2, 0.3, 0.4])
    table, _ = load(write(tmp_path / "trainer_state.json", text), size="1.5B")
    assert table.values["test_loss"] == pytest.approx([0.8, 0.7, 0.6])
    assert table.values["tokens"] == [100, 200, 300]
    with pytest.raises(
        InputError, match="no validation metric; found step, num_tokens, loss; choose one with --metric"
    ):
        load(write(tmp_path / "trainer_state.json", trainer_state()))


def test_rewards_on_training_problems_are_asked_for_and_scaled(tmp_path: Path) -> None:
    path = write(tmp_path / "trainer_state.json", trainer_state(reward=[-1.0, 0.0, 0.5]))
    with pytest.raises(InputError, match="measured on training problems: reward; choose one with --metric"):
        load(path, size="7B")
    with pytest.raises(
        InputError, match=r"reward is no share: found -1, values from .* give --percent, --reward LOW HIGH or --divide"
    ):
        load(path, size="7B", metric="reward")
    table, _ = load(path, size="7B", metric="reward", scale=Scale(reward=(-1.0, 1.0)))
    assert table.values["test_loss"] == [1.0, 0.5, 0.25]


def test_two_validation_sets_are_never_guessed_between(tmp_path: Path) -> None:
    lines = [{"step": s, "eval/math/accuracy": 0.5, "eval/code/accuracy": 0.4} for s in (1, 2)]
    path = write(tmp_path / "7b.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(InputError, match="2 validation metrics: eval/math/accuracy, eval/code/accuracy; choose one"):
        load(path)
    assert load(path, metric="eval/code/accuracy")[0].values["test_loss"] == [0.6, 0.6]
    with pytest.raises(InputError, match="no metric 'code'; found eval/code/accuracy"):
        load(path, metric="code")


def test_jsonl_metrics_nested_cut_off_and_repeated_after_a_resume(tmp_path: Path) -> None:
    lines = [{"progress": {"batch": s}, "test": {"env": {"all": {"reward": {"total": 0.1 * s}}}}} for s in (1, 2, 3)]
    lines += [{"progress": {"batch": 2}, "test": {"env": {"all": {"reward": {"total": 0.9}}}}}]
    path = tmp_path / "llama-8b.jsonl.gz"
    path.write_bytes(gzip.compress(("".join(json.dumps(line) + "\n" for line in lines) + '{"progr').encode()))
    table, (note, _) = load(path)
    assert table.values["test_loss"] == pytest.approx([0.9, 0.1, 0.7])
    assert "1 repeated steps, the last counts" in note
    assert load(path, keep="first")[0].values["test_loss"] == pytest.approx([0.9, 0.8, 0.7])
    assert load(path, every=3)[0].values["step"] == [3]


def test_a_folder_gives_each_run_the_size_in_its_path(tmp_path: Path) -> None:
    for size in ("1.5B", "7B"):
        for step in (100, 20):
            folder = tmp_path / size / "run_0" / f"checkpoint-{step}"
            folder.mkdir(parents=True)
            write(folder / "trainer_state.json", trainer_state(eval_reward=[0.1, 0.2, step / 1000]))
    table, _ = read_sources([tmp_path], ImportOptions())
    assert sorted(set(rows(table, "run_id", "n_params"))) == [("1.5B/run_0", 1.5e9), ("7B/run_0", 7e9)]
    assert table.values["test_loss"][2] == 0.9, "the checkpoint of step 100, though 20 comes after it by name"


def test_zero_losses_with_trials_are_corrected_and_said(tmp_path: Path) -> None:
    lines = [{"step": s, "eval/accuracy": value} for s, value in ((1, 0.5), (2, 1.0))]
    path = write(tmp_path / "7b.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    table, (note, unknown) = load(path, trials=500)
    assert table.values["test_loss"] == [0.5, 0.5 / 501]
    assert "1 losses of 0 become 0.5 / (trials + 1)" in note
    assert "X is the step; --batch turns steps into prompts" in unknown


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("Qwen2.5-7B-Instruct", {7e9}),
        ("qwen0.5b", {5e8}),
        ("gemma2-2b PPO", {2e9}),
        ("190M-1xC", {190e6}),
        ("llama3.1-8b-4bit", {8e9}),
        ("394k", {394e3}),
        ("ctx-16k", set()),
        ("run-3", set()),
        ("distill-32B-into-7B", {32e9, 7e9}),
        ("2988", {2988.0}),
        ("7e9", {7e9}),
    ],
)
def test_sizes_in_names(name: str, sizes: set[float]) -> None:
    assert size_in(name) == sizes


def test_an_unknown_or_ambiguous_size_is_a_question(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    line = json.dumps({"step": 1, "eval/accuracy": 0.5}) + "\n"
    with pytest.raises(InputError, match=r"the model size is not known.*--size 7B"):
        load(write(folder / "run.jsonl", line), size_from="name")
    with pytest.raises(InputError, match=r"name 'distill-32B-into-7B' holds several sizes \(7e\+09, 3.2e\+10\)"):
        load(write(folder / "distill-32B-into-7B.jsonl", line))


def test_tensorboard_events(tmp_path: Path) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    folder = tmp_path / "qwen-3b"
    writer = EventFileWriter(str(folder))
    for step, value in ((1, 0.25), (2, 0.5)):
        summary = Summary(value=[Summary.Value(tag="eval/accuracy", simple_value=value)])
        writer.add_event(Event(step=step, wall_time=1.0, summary=summary))
    writer.close()
    table, _ = read_sources([folder], ImportOptions())
    assert rows(table, "run_id", "n_params", "step", "test_loss") == [
        ("qwen-3b", 3e9, 1, 0.75),
        ("qwen-3b", 3e9, 2, 0.5),
    ]


def test_import_writes_points_that_fit_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "wandb.csv", WIDE)
    for name in ("points.parquet", "points.csv"):
        main_ok("import", str(source), "-o", str(tmp_path / name), "--batch", "512")
    assert "10 points" in capsys.readouterr().out
    assert pq.read_table(tmp_path / "points.parquet").num_rows == 10
    by_name = [load(tmp_path / name)[0] for name in ("points.parquet", "points.csv")]
    first, second = (groups_of(table, resolve(table, Columns())[0]) for table in by_name if len(table))
    for name, points in first.items():
        np.testing.assert_array_equal(points.loss, second[name].loss)


def main_ok(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 0


@pytest.mark.shared
def test_real_logs_give_the_values_worked_out_by_hand() -> None:
    folder = shared_folder("logs")
    table, _ = load(folder / "verl_console_qwen2_7b_gpg.log")
    found = rows(table, "step", "test_loss", "tokens", "compute")
    assert len(found) == 22
    for index, step, share, tokens in ((0, 0, 0.212, 0), (11, 55, 0.889, 73_018_303), (21, 105, 0.880, 136_458_535)):
        assert found[index] == pytest.approx((step, 1 - share, tokens, 6 * 7e9 * tokens))
    with pytest.raises(InputError, match=r"leaves 0 to 1: found 2\.09"):
        load(folder / "trl_trainer_state_grpo.json", size="1.5B", metric="reward", scale=Scale(reward=(-2.0, 2.0)))
    table, _ = load(
        folder / "trl_trainer_state_grpo.json", size="1.5B", metric="reward", scale=Scale(reward=(-2.0, 3.0))
    )
    found = rows(table, "step", "test_loss", "tokens")
    assert len(found) == 50
    for index, step, reward, tokens in (
        (0, 5, 0.6202375590801239, 24_326),
        (25, 130, -0.1666023015975952, 541_857),
        (49, 250, 0.2743660032749176, 1_056_813),
    ):
        assert found[index] == pytest.approx((step, 1 - (reward + 2) / 5, tokens))
    chart = folder / "wandb_chart_export_min_max.csv"
    table, _ = load(chart, size="124M", metric="train/loss", scale=Scale(divide=30.0))
    assert len(table) == 1184
    found = rows(table, "run_id", "step", "test_loss")
    first = [row for row in found if row[0] == "gpt2_last_char_to_char1729642919.4054031"]
    # A training metric of step 0 was measured in the first step: its steps are counted from 0 and moved up by one.
    for row, step, loss in ((first[0], 1, 25.48284149169922), (first[25], 26, 3.998175621032715)):
        assert row[1:] == pytest.approx((step, loss / 30))
    assert found[-1][1:] == pytest.approx((128, 6.8979668617248535 / 30))


@pytest.mark.slow
def test_a_study_imports_to_exactly_the_points_that_fit_uses(tmp_path: Path) -> None:
    from tasks.runtime.tracking.publishing import sync

    params = make_finished_study(tmp_path, {"sizes": ["3k", "7k"], "seeds": [0, 1], "reuse": None}, steps=5)
    paths = StudyPaths.of(params)
    sync(params, f"sqlite:///{tmp_path / 'store.db'}")
    own, _ = read_sources([paths.stage("fit") / "points.parquet"], ImportOptions())
    for source in (paths.stage("train"), tmp_path / "store.db"):
        table, _ = read_sources([source], ImportOptions())
        for resource in ("compute", "data"):
            columns = Columns(x=resource)
            groups = groups_of(table, resolve(table, columns)[0])
            for name, expected in groups_of(own, resolve(own, columns)[0]).items():
                for field in ("n", "resource", "loss", "step", "trials", "run", "runs"):
                    np.testing.assert_array_equal(getattr(groups[name], field), getattr(expected, field), field)
