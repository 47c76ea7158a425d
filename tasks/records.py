"""Row types that cross stages, with how they are read and written.

`Problem` is a row of the published parquet layout (data_source, prompt, ability, reward_model, extra_info);
`StepMetrics` a line of a run's `metrics.jsonl`; `ModelRecord` an entry of the model family; `Score` a row of
`data/evaluate/scores.parquet`. pyarrow is imported when a parquet file is touched, not before.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.errors import InputError
from tasks.store import atomic_path, read_manifest

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Problem:
    """A problem with a verifiable answer.

    Attributes:
        problem_id: stable name, unique within the study; enters every sampling seed.
        data_source: decides the scorer (see `tasks.grading`).
        messages: the prompt as chat messages, (role, content) pairs.
        answer: ground truth as text; for structured truths, JSON.
        ability: math, codegen, logic, stem.
        pass_rate: share of a reference solver's samples that are right, None = unknown (counts as hardest).
        level: level of generated problems, None elsewhere.
    """

    problem_id: str
    data_source: str
    messages: tuple[tuple[str, str], ...]
    answer: str
    ability: str = "math"
    pass_rate: float | None = None
    level: int | None = None


def problem_schema() -> pa.Schema:
    """The published row layout, with our problem id, pass rate and level inside extra_info."""
    import pyarrow as pa

    message = pa.struct([("content", pa.string()), ("role", pa.string())])
    extra = [("index", pa.int64()), ("split", pa.string()), ("problem_id", pa.string())]
    extra += [("pass_rate", pa.float64()), ("level", pa.int64())]
    return pa.schema(
        [
            ("data_source", pa.string()),
            ("prompt", pa.list_(message)),
            ("ability", pa.string()),
            ("reward_model", pa.struct([("ground_truth", pa.string()), ("style", pa.string())])),
            ("extra_info", pa.struct(extra)),
        ]
    )


def write_problems(path: Path, problems: Sequence[Problem], split: str) -> None:
    """Writes problems atomically as parquet in the published row layout."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [_problem_row(index, problem, split) for index, problem in enumerate(problems)]
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=problem_schema()), temporary)


def _problem_row(index: int, problem: Problem, split: str) -> dict[str, Any]:
    return {
        "data_source": problem.data_source,
        "prompt": [{"role": role, "content": content} for role, content in problem.messages],
        "ability": problem.ability,
        "reward_model": {"ground_truth": problem.answer, "style": "rule"},
        "extra_info": {
            "index": index,
            "split": split,
            "problem_id": problem.problem_id,
            "pass_rate": problem.pass_rate,
            "level": problem.level,
        },
    }


def read_problems(path: Path) -> list[Problem]:
    """Reads problems that `write_problems` wrote.

    Raises:
        InputError: the file is missing or not of the prepared layout.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except (FileNotFoundError, pa.ArrowInvalid):
        raise InputError(f"{path}: not a problem file; run `rlscale prepare` first") from None
    try:
        return [problem_of(row) for row in rows]
    except (KeyError, TypeError):
        raise InputError(f"{path}: rows are not of the prepared layout; run `rlscale prepare` again") from None


def problem_of(row: dict[str, Any]) -> Problem:
    """Turns a row of the written layout back into a problem."""
    extra = row["extra_info"]
    return Problem(
        problem_id=extra["problem_id"],
        data_source=row["data_source"],
        messages=tuple((message["role"], message["content"]) for message in row["prompt"]),
        answer=row["reward_model"]["ground_truth"],
        ability=row["ability"],
        pass_rate=extra["pass_rate"],
        level=extra["level"],
    )


@dataclass(frozen=True)
class ModelRecord:
    """A model of the family.

    Attributes:
        name: `<size>-<variant>`.
        size: name of the size.
        variant: base or instruct.
        path: folder of the checkpoint, relative to `data/pretrain/`, or absolute for a resolved hub snapshot.
        total: all parameters, tied embeddings counted once.
        n_params: non-embedding parameters, the N of the law.
        nominal: the published nominal size; for the miniature family equal to n_params.
        digest: SHA-256 that identifies the weights and tokenizer.
    """

    name: str
    size: str
    variant: str
    path: str
    total: int
    n_params: int
    nominal: float
    digest: str


def read_models(folder: Path) -> dict[str, ModelRecord]:
    """Returns the family by name, from the manifest of `data/pretrain/`.

    Raises:
        InputError: the stage has not finished.
    """
    manifest = read_manifest(folder)
    if manifest is None or "models" not in manifest:
        raise InputError(f"{folder}: no finished model family; run `rlscale pretrain` first")
    records = [ModelRecord(**entry) for entry in manifest["models"]]
    return {record.name: record for record in records}


@dataclass(frozen=True)
class StepMetrics:
    """One training step. Step 0 is the evaluation before training: its training values are null, its counters 0.

    Attributes:
        step: 1-based step, 0 before training.
        epoch: how many times the run's unique prompts have been seen, fraction included.
        data: prompts seen so far, with repeats (D).
        tokens: prompt + completion tokens of training so far (T).
        compute: C = 6 N T so far, FLOPs, with N the non-embedding parameter count.
        flops: FLOPs of this step by phase (architecture-aware): rollout, reference, old, update, evaluation.
        flops_total: sum over phases and steps so far.
        mfu: share of the devices' bf16 peak that the update's necessary FLOPs took; null where the peak is unknown.
        reward_mean: mean reward of the step's completions, before the update.
        reward_std: mean over groups of the within-group (unbiased) standard deviation.
        degenerate_groups: share of groups whose rewards are all equal (no gradient from them).
        test_loss: L = 1 - pass@1 on the held-out problems after the step's update; null where not evaluated.
        test_loss_se: its binomial standard error.
        test_trials: graded held-out answers behind it.
        test_right: how many were right.
        loss: objective value, mean over the step's minibatches.
        kl: mean k3 KL to the reference policy per token, null where the coefficient is 0.
        entropy: mean token entropy of the policy on the rollouts, nats, estimated as -mean log-prob at T = 1.
        clip_fraction: share of tokens where the clipped term was active.
        grad_norm: mean global gradient norm before clipping.
        mismatch_kl: mean token KL (k3) between sampler and trainer log-probs before the first update.
        mismatch_share: share of tokens with sampler/trainer ratio outside [0.9, 1.1].
        prompt_tokens: prompt tokens of the step, counted once per completion as published.
        completion_tokens: completion tokens of the step.
        completion_length: mean completion length, tokens, end-of-sequence counted.
        truncated: share of completions that hit the length limit.
        grading: counts of the step's verdicts: graded, right, unjudged, timed_out, fast_path, remembered, retried; see
            `tasks.grading.GradeStats`.
        sampler_fingerprint: digest of the weights the sampler used.
        seconds: wall seconds by phase: rollout, grading, update (log-prob passes included), weights (to the sampler),
            evaluation, checkpoint (the one before this step).
    """

    step: int
    epoch: float = 0.0
    data: int = 0
    tokens: int = 0
    compute: float = 0.0
    flops: dict[str, float] = field(default_factory=dict)
    flops_total: float = 0.0
    mfu: float | None = None
    reward_mean: float | None = None
    reward_std: float | None = None
    degenerate_groups: float | None = None
    test_loss: float | None = None
    test_loss_se: float | None = None
    test_trials: int | None = None
    test_right: int | None = None
    loss: float | None = None
    kl: float | None = None
    entropy: float | None = None
    clip_fraction: float | None = None
    grad_norm: float | None = None
    mismatch_kl: float | None = None
    mismatch_share: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    completion_length: float | None = None
    truncated: float | None = None
    grading: dict[str, int] = field(default_factory=dict)
    sampler_fingerprint: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def line(self) -> str:
        """The row as one JSON line, newline included."""
        return json.dumps(asdict(self), allow_nan=False) + "\n"


def read_metrics(path: Path) -> list[StepMetrics]:
    """Reads a run's rows; an unfinished last line (a killed writer) is left out.

    Raises:
        InputError: a complete line is not a metrics row.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    known = {entry.name for entry in fields(StepMetrics)}
    rows = []
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), start=1):
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            value = None
        if not isinstance(value, dict) or not set(value) <= known or "step" not in value:
            raise InputError(f"{path}: line {number} is not a metrics row")
        rows.append(StepMetrics(**value))
    return rows


@dataclass(frozen=True)
class Score:
    """How a run's final policy did on a benchmark.

    Attributes:
        run_id: the run; initial checkpoints appear as `initial-<model>`.
        benchmark: name of the set, `heldout` included.
        problems: problems in the set.
        samples: completions per problem.
        right: right answers in all.
        pass_at_1: mean over problems of the share of right samples.
        low: lower end of the 95 % Wilson interval of pass@1 (problems as trials).
        high: upper end.
        pass_at_k: unbiased pass@k by k, as text keys.
        truncated: share of completions that hit the length limit.
        mean_length: mean completion length, tokens.
        unjudged: answers the scorer could not judge.
        seconds: wall seconds of generation and grading.
        tokens_per_second: completion tokens per second of generation.
        engine: which engine sampled.
    """

    run_id: str
    benchmark: str
    problems: int
    samples: int
    right: int
    pass_at_1: float
    low: float
    high: float
    pass_at_k: dict[str, float]
    truncated: float
    mean_length: float
    unjudged: int
    seconds: float
    tokens_per_second: float
    engine: str


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """Writes scores atomically as parquet; pass@k is a JSON text column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [asdict(score) | {"pass_at_k": json.dumps(score.pass_at_k, sort_keys=True)} for score in scores]
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=_score_schema()), temporary)


def _score_schema() -> pa.Schema:
    import pyarrow as pa

    types = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "dict[str, float]": pa.string()}
    return pa.schema([(entry.name, types[str(entry.type)]) for entry in fields(Score)])


def read_scores(path: Path) -> list[Score]:
    """Reads scores.

    Raises:
        InputError: there is no such file.
    """
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except FileNotFoundError:
        raise InputError(f"{path}: no scores; run `rlscale evaluate` first") from None
    return [Score(**(row | {"pass_at_k": json.loads(row["pass_at_k"])})) for row in rows]
