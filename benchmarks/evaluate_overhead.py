"""What our evaluation costs on top of vLLM: the same prompts and settings through `LLM.generate` and through us.

    python -m benchmarks.evaluate_overhead [--params params.yaml] [--model 99k-base] [--repeats 5]

Raw is `LLM.generate` alone: one seeded request per sample, log-probabilities of the sampled tokens, no text. Ours is
the whole evaluation of a policy on all its sets: generation, decoding, grading and samples in memory, with grading
overlapped; prompts are rendered before, as an evaluation does once for all policies that share a tokenizer. Both use
one and the same running engine, in turns; the first turn of each is not counted. `raw, own draws` is `LLM.generate`
with our sampler's settings, which shows what the sampler itself saves or costs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tasks.evaluate.generate import EvaluationSet, Grader, generate, load_set
from tasks.grading import GradingPool
from tasks.records.models import policy_checkpoint
from tasks.sampling.protocol import GenerationBatch
from tasks.sampling.seeds import request_seed
from tasks.sampling.vllm.engine import VllmEngine
from tasks.sampling.vllm.requests import sampling_params, sequence_indices
from tasks.study.params import Params, load_params
from tasks.study.policies import initial_name, list_policies


def raw_turn(engine: VllmEngine, batches: list[GenerationBatch], counter_based: bool) -> int:
    """One `LLM.generate` over all samples; returns the completion tokens."""
    from vllm import SamplingParams

    prompts: list[Any] = []
    params = []
    for index in sequence_indices(batches):
        batch = batches[index.batch]
        request, settings = batch.requests[index.request], batch.settings
        prompts.append({"prompt_token_ids": list(request.tokens)})
        if counter_based:
            params.append(sampling_params(batch, index, [0], counter_based=True))
            continue
        params.append(
            SamplingParams(
                temperature=settings.temperature,
                top_p=settings.top_p,
                max_tokens=settings.max_tokens,
                seed=request_seed(settings, request.prompt_id, index.sample),
                logprobs=0,
                flat_logprobs=True,
                detokenize=False,
                stop_token_ids=[0],
            )
        )
    outputs = engine.process.llm.generate(prompts, params, use_tqdm=False)
    return sum(len(output.outputs[0].token_ids) for output in outputs)


def our_turn(engine: VllmEngine, params: Params, sets: list[EvaluationSet]) -> int:
    """A policy's whole evaluation in memory; returns the completion tokens."""
    hardware = params.hardware
    limits = (hardware.grading_workers, hardware.grading_seconds, hardware.grading_memory_mb)
    with GradingPool(*limits) as pool, ThreadPoolExecutor(1) as thread:
        drawn = generate(engine, sets, Grader(pool, thread))
        rows = [row for part in drawn for future in part.graded for row in future.result().rows]
    assert sum(len(samples) for _, samples in rows) == sum(len(s.prompts.problems) * s.settings.n for s in sets)
    return sum(part.tokens for part in drawn)


def timed(turn: Callable[[], int]) -> tuple[float, int]:
    start = time.perf_counter()
    tokens = turn()
    return time.perf_counter() - start, tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--model", default="99k-base")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    params = load_params(chosen.params)
    policy = next(policy for policy in list_policies(params) if policy.name == initial_name(chosen.model))
    checkpoint = policy_checkpoint(params, policy)
    sets = [load_set(params, policy, checkpoint, name) for name in policy.benchmarks]
    batches = [GenerationBatch(entry.prompts.requests, entry.settings) for entry in sets]
    context = params.train.sampling.max_prompt_tokens + max(entry.settings.max_tokens for entry in sets)
    engine = VllmEngine(checkpoint, params.hardware, "float32", context)
    turns: dict[str, Callable[[], int]] = {
        "raw LLM.generate": lambda: raw_turn(engine, batches, counter_based=False),
        "raw, own draws": lambda: raw_turn(engine, batches, counter_based=True),
        "rlscale evaluate": lambda: our_turn(engine, params, sets),
    }
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    tokens: dict[str, int] = {}
    for repeat in range(chosen.repeats + 1):
        for name, turn in turns.items():
            took, tokens[name] = timed(turn)
            if repeat:
                seconds[name].append(took)
    engine.close()
    report(seconds, tokens, chosen.json)


def report(seconds: dict[str, list[float]], tokens: dict[str, int], as_json: bool) -> None:
    base = seconds["raw LLM.generate"]
    rows = [
        {
            "way": name,
            "median_s": round(statistics.median(taken), 3),
            "tokens": tokens[name],
            "ratio_to_raw": round(statistics.median(a / b for a, b in zip(taken, base, strict=True)), 3),
        }
        for name, taken in seconds.items()
    ]
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{'way':<20} {'median s':>9} {'tokens':>8} {'ratio to raw':>13}")
    for row in rows:
        print(f"{row['way']:<20} {row['median_s']:>9} {row['tokens']:>8} {row['ratio_to_raw']:>13}")


if __name__ == "__main__":
    main()
