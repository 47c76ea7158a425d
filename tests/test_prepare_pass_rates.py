"""Measured pass rates, prompt lengths under a tokenizer, and the command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from tasks.grading import GradingPool
from tasks.prepare.checks.lengths import PromptLengthChecker
from tasks.prepare.describe import description, tables
from tasks.prepare.pass_rates import Solver, measure_pass_rates, read_pass_rates
from tasks.prepare.prepare import prepare, unknown_problems
from tasks.pretrain.tiny import build_tokenizer
from tasks.records.problems import Problem, read_problems
from tasks.sampling.protocol import Completion, Request, SamplingSettings
from tasks.study.errors import InputError
from tasks.study.params import Params, load_params
from tasks.study.paths import StudyPaths

SETTINGS = SamplingSettings(n=4, temperature=1.0, top_p=1.0, max_tokens=8, seed=0)


class Parrot:
    """An engine that answers `3` to every prompt; of an even one-digit sum's samples only half say so."""

    name = "parrot"

    def __init__(self, tokenizer: Any, weights: str = "w1") -> None:
        self.asked: list[str] = []
        self._tokenizer = tokenizer
        self._weights = weights

    def generate(self, requests: Sequence[Request], settings: SamplingSettings) -> list[list[Completion]]:
        self.asked += [request.prompt_id for request in requests]
        return [[self._say("3" if sample < settings.n // 2 else "4") for sample in range(settings.n)] for _ in requests]

    def _say(self, text: str) -> Completion:
        tokens = tuple(self._tokenizer.encode(f"\\boxed{{{text}}}", add_special_tokens=False))
        return Completion(tokens, (0.0,) * len(tokens), "stop")

    def load(self, checkpoint: Path) -> str:
        return self._weights

    def fingerprint(self) -> str:
        return self._weights

    def close(self) -> None:
        """Holds nothing."""


def problems(count: int) -> list[Problem]:
    return [
        Problem(f"arithmetic/{n}", "arithmetic", (("user", f"1+{n % 10}="),), str(1 + n % 10)) for n in range(count)
    ]


def measured(engine: Parrot, path: Path, count: int = 100, stop_after: int | None = None) -> None:
    tokenizer = build_tokenizer()
    with GradingPool() as pool:
        for done in measure_pass_rates(problems(count), Solver(engine, tokenizer, "plain"), pool, SETTINGS, path):
            if stop_after is not None and done >= stop_after:
                return


def test_rates_are_the_share_of_right_samples(tmp_path: Path) -> None:
    measured(Parrot(build_tokenizer()), tmp_path / "rates.jsonl", 10)
    rates = read_pass_rates(str(tmp_path / "rates.jsonl"))
    assert rates == {f"arithmetic/{n}": 0.5 if n in (2, 3) else 0.0 for n in range(10)}


def test_a_stopped_measurement_continues_and_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    measured(Parrot(build_tokenizer()), whole)
    measured(Parrot(build_tokenizer()), broken, stop_after=64)
    with broken.open("a") as file:
        file.write('{"problem_id": "arithmetic/64", "ri')
    again = Parrot(build_tokenizer())
    measured(again, broken)
    assert len(again.asked) == 36
    assert broken.read_bytes() == whole.read_bytes()


def test_rates_of_another_solver_are_not_mixed_in(tmp_path: Path) -> None:
    measured(Parrot(build_tokenizer()), tmp_path / "rates.jsonl", 5)
    with pytest.raises(InputError, match="was measured with"):
        measured(Parrot(build_tokenizer(), "w2"), tmp_path / "rates.jsonl", 5)


def test_a_damaged_rates_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rates.jsonl"
    path.write_text('{"solver": {}}\n{"problem_id": "a", "right": 1}\n')
    with pytest.raises(InputError, match=r"rates.jsonl: line 2 is not a pass-rate record"):
        read_pass_rates(str(path))
    assert read_pass_rates(None) == read_pass_rates(str(tmp_path / "absent.jsonl")) == {}


@pytest.fixture
def unrated(tmp_path: Path, repository: Path) -> Params:
    """A study on a file of 90 sums without pass rates, 10 of them held out."""
    rows = [{"problem": f"{a}+{b}=", "answer": a + b, "data_source": "arithmetic"} for a in range(9) for b in range(10)]
    (tmp_path / "set.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw = yaml.safe_load((repository / "params.yaml").read_text())
    raw["study"]["data_root"] = "data"
    raw["train"] |= {"steps": 4, "batch": 10, "minibatch": 10}
    raw["grid"]["reuse"]["factors"] = [2]
    raw["prepare"] |= {"source": {"kind": "file", "path": str(tmp_path / "set.jsonl")}, "heldout": 10, "benchmarks": []}
    raw["prepare"] |= {"easy_threshold": 0.5, "pass_rates": str(tmp_path / "rates.jsonl")}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw))
    return load_params(path)


def test_a_set_without_rates_is_split_by_length_and_by_difficulty_once_they_are_measured(
    unrated: Params, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepare(unrated)
    assert "drawn at random from bins of length" in caplog.text
    assert "--measure-pass-rate" in caplog.text
    assert len(read_problems(StudyPaths.of(unrated).heldout)) == 10
    assert ("heldout", "split off train at random, by length", 10, "") in tables(description(unrated))[0].rows
    listed = unknown_problems(unrated, tmp_path / "scratch")
    assert len(listed) == 90
    rates = [{"problem_id": p.problem_id, "right": int(len(p.answer) == 1), "samples": 1} for p in listed]
    (tmp_path / "rates.jsonl").write_text("".join(json.dumps(rate) + "\n" for rate in rates))
    caplog.clear()
    prepare(unrated)
    assert not caplog.text
    heldout = read_problems(StudyPaths.of(unrated).heldout)
    assert sum(problem.pass_rate == 1.0 for problem in heldout) == 5
    train = read_problems(StudyPaths.of(unrated).train_problems)
    assert all((problem.pass_rate == 1.0) == (len(problem.answer) == 1) for problem in train)


def test_problems_that_have_a_rate_are_not_measured(unrated: Params, tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["pass_rate"] = 0.25
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert len(unknown_problems(unrated, tmp_path / "scratch")) == 89


def test_prompt_lengths_count_template_and_text_and_too_long_prompts_are_refused(tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    short, long = (
        Problem(name, "arithmetic", (("user", text),), "1") for name, text in (("a", "1+1="), ("b", "1" * 60))
    )
    checker = PromptLengthChecker(str(tmp_path / "tokenizer"), None, 40)
    message = [{"role": "user", "content": "1+1="}]
    rendered = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=True, return_dict=False)
    assert checker.tokens([short]).tolist() == [len(rendered)]
    refused = checker.too_long([short, long, short])
    assert set(refused) == {1}
    assert refused[1].endswith("40 allowed")


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"prepare.tokenizer: .*nowhere cannot be loaded"):
        PromptLengthChecker(str(tmp_path / "nowhere"), None, 40)


def test_over_long_prompts_are_listed_and_lengths_described(unrated: Params, tmp_path: Path) -> None:
    build_tokenizer().save_pretrained(tmp_path / "tokenizer")
    path = tmp_path / "set.jsonl"
    path.write_text(path.read_text() + json.dumps({"problem": "1" * 300 + "+1=", "answer": "2", "pass_rate": 1}) + "\n")
    block = unrated.prepare.model_copy(
        update={"tokenizer": str(tmp_path / "tokenizer"), "easy_threshold": 0.0, "heldout": 1, "pass_rates": None}
    )
    manifest = prepare(unrated.model_copy(update={"prepare": block}))
    assert manifest["counts"]["rejected"]["long"] == 1
    assert manifest["training"]["tokens"]["longest"] <= unrated.train.sampling.max_prompt_tokens


def test_the_command_describes_in_json_and_refuses_what_is_not_there(unrated: Params, tmp_path: Path) -> None:
    from flows.cli.main import build_app

    runner, arguments = CliRunner(), ["prepare", "--params", str(tmp_path / "params.yaml")]
    absent = runner.invoke(build_app(), [*arguments, "--describe"])
    assert isinstance(absent.exception, InputError)
    unknown = runner.invoke(build_app(), [*arguments, "--measure-pass-rate", "nothing-base"])
    assert "neither a checkpoint folder nor a model" in str(unknown.exception)
    rates = [
        {"problem_id": p.problem_id, "right": n % 2, "samples": 1}
        for n, p in enumerate(unknown_problems(unrated, tmp_path / "s"))
    ]
    (tmp_path / "rates.jsonl").write_text("".join(json.dumps(rate) + "\n" for rate in rates))
    prepare(unrated)
    described = runner.invoke(build_app(), [*arguments, "--describe", "--json"])
    assert json.loads(described.stdout)["counts"]["train"] == 40
    assert "Difficulty of the training problems" in runner.invoke(build_app(), [*arguments, "--describe"]).stdout
