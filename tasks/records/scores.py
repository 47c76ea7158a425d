"""`Score`, a row of `data/evaluate/scores.parquet`: what graded samples add up to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tasks.records.parquet import read_rows, record_of, schema_of, write_parquet
from tasks.records.samples import Sample
from tasks.records.statistics import mean_pass_at_k, wilson_interval


@dataclass(frozen=True)
class Score:
    """A policy on a benchmark.

    Attributes:
        run_id: name of the policy: a run id, or that of an initial model (`tasks.study.policies`).
        benchmark: name of the set, `heldout` included.
        problems: problems in the set.
        samples: completions per problem.
        right: right answers in their form in all (strict).
        pass_at_1: mean over problems of the fraction of such samples.
        low: lower end of the 95 % Wilson interval of pass@1 (problems as trials).
        high: upper end.
        pass_at_k: unbiased pass@k by k, as text keys.
        truncated: fraction of completions that hit the length limit.
        mean_length: mean completion length, tokens.
        unjudged: answers the scorer could not judge.
        seconds: wall seconds of generation and grading.
        tokens_per_second: completion tokens per second of generation.
        engine: which engine sampled.
        right_lenient: right final answers wherever they stand; None in scores of versions that did not record it.
        pass_at_1_lenient: pass@1 of these.
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
    right_lenient: int | None = None
    pass_at_1_lenient: float | None = None

    def without_times(self) -> Score:
        """The score with its measured times set to 0: equal for equal work, so that digests are taken of it."""
        return replace(self, seconds=0.0, tokens_per_second=0.0)


def score_of(name: str, benchmark: str, samples: Sequence[Sample], pass_ks: Sequence[int], engine: str) -> Score:
    """Adds graded samples up; the seconds are left at 0 for the caller, who measured them.

    Args:
        name: of the policy.
        benchmark: name of the set.
        samples: all samples of the set, the same number for each problem, each with both scores.
        pass_ks: k of pass@k; those above the samples per problem are left out.
        engine: which engine sampled.
    """
    right, lenient, counts = Counter[str](), Counter[str](), Counter[str]()
    for row in samples:
        right[row.problem_id] += row.score == 1.0
        lenient[row.problem_id] += row.lenient == 1.0
        counts[row.problem_id] += 1
    if len(set(counts.values())) != 1:
        raise ValueError(f"{name} on {benchmark}: problems differ in their number of samples")
    n = next(iter(counts.values()))
    pass_at_1 = mean_pass_at_k(1, n, list(right.values()))
    low, high = wilson_interval(pass_at_1, len(right))
    return Score(
        run_id=name,
        benchmark=benchmark,
        problems=len(right),
        samples=n,
        right=sum(right.values()),
        pass_at_1=pass_at_1,
        low=low,
        high=high,
        pass_at_k={str(k): mean_pass_at_k(k, n, list(right.values())) for k in pass_ks if k <= n},
        truncated=sum(row.finish == "length" for row in samples) / len(samples),
        mean_length=sum(row.tokens for row in samples) / len(samples),
        unjudged=sum(row.status == "unjudged" for row in samples),
        seconds=0.0,
        tokens_per_second=0.0,
        engine=engine,
        right_lenient=lenient.total(),
        pass_at_1_lenient=mean_pass_at_k(1, n, list(lenient.values())),
    )


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """Writes scores atomically as parquet; pass@k is a JSON text column."""
    rows = (asdict(score) | {"pass_at_k": json.dumps(score.pass_at_k, sort_keys=True)} for score in scores)
    write_parquet(path, rows, schema_of(Score))


def read_scores(path: Path) -> list[Score]:
    """Reads scores; those of older versions have no lenient ones.

    Raises:
        InputError: there is no such file, or a column is missing or unknown.
    """
    rows = read_rows(path, Score, "no scores; run `rlscale evaluate` first")
    return [replace(row, pass_at_k=json.loads(str(row.pass_at_k))) for row in rows]


def read_score(path: Path) -> Score:
    """Reads the `score.json` of one evaluation.

    Raises:
        InputError: a key is missing or unknown.
    """
    return record_of(json.loads(path.read_text(encoding="utf-8")), Score, path)
