"""Eight sets in the published layout, the shortest problems of each, all the way through with a byte-level model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.studies import study_to_evaluate
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from tasks.evaluate.run import EvaluationRequest, run_request
from tasks.prepare.evaluation_sets import read_set
from tasks.prepare.sources.source import benchmark_source
from tasks.records.problems import read_problems, write_problems
from tasks.records.samples import read_samples
from tasks.records.scores import read_score
from tasks.study.params import Benchmark, Params
from tasks.study.paths import StudyPaths
from tasks.study.policies import benchmark_names, list_policies

SUITE = {
    "published_heldout": "math__full_difficulty_ordered_test_500",
    "math500": "math__math_500",
    "gsm8k": "gsm8k",
    "aime2024": "aime2024",
    "amc2023": "amc2023",
    "humaneval": "codegen__humaneval_164",
    "zebra": "logic__zebra_puzzle_dataset_200",
    "supergpqa": "stem__supergpqa_200",
}
EACH, CONTEXT = 2, 12000

pytestmark = pytest.mark.slow


def save_byte_model(folder: Path) -> None:
    """A random one-layer model that reads any text: one token per byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<end>", *alphabet]
    core = Tokenizer(models.BPE(vocab={name: index for index, name in enumerate(names)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>", pad_token="<end>")
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    config = Qwen2Config(
        vocab_size=len(names),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        eos_token_id=0,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@pytest.fixture
def study(tmp_path: Path, problem_sets: Path) -> Iterator[Params]:
    params = study_to_evaluate(tmp_path)
    sets = tuple(
        Benchmark(name=name, source="file", path=str(problem_sets / f"{file}.parquet")) for name, file in SUITE.items()
    )
    lengths = {"max_prompt_tokens": CONTEXT - 16, "max_completion_tokens": 16}
    sampling: dict[str, Any] = {"sampling": params.train.sampling.model_copy(update=lengths)}
    params = params.model_copy(
        update={
            "prepare": params.prepare.model_copy(update={"benchmarks": sets}),
            "train": params.train.model_copy(update=sampling),
        }
    )
    for benchmark in sets:
        problems = read_set(benchmark.name, benchmark_source(params, benchmark), params.prepare).problems
        shortest = sorted(problems, key=lambda problem: sum(len(text) for _, text in problem.messages))
        write_problems(StudyPaths.of(params).benchmark(benchmark.name), shortest[:EACH], "test")
    save_byte_model(StudyPaths.of(params).model("3k-base"))
    return params


def test_all_eight_published_sets_are_sampled_and_judged(study: Params) -> None:
    names = list(benchmark_names(study))
    assert names == ["heldout", *SUITE]
    subject = list_policies(study)[0]
    assert run_request(EvaluationRequest(study, (subject,), tuple(names))) == 9
    for name in SUITE:
        folder = StudyPaths.of(study).evaluation(subject, name)
        rows = read_samples(folder / "samples.parquet")
        assert [row.problem_id for row in rows] == [
            problem.problem_id for problem in read_problems(StudyPaths.of(study).benchmark(name))
        ]
        assert {row.status for row in rows} <= {"right", "wrong"}
        assert all(row.reason for row in rows)
        assert read_score(folder / "score.json").problems == EACH
