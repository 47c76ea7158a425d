"""A finished study's policies by vLLM, one engine per size, against the transformers engine.

    python -m benchmarks.evaluate_study [--params params.yaml] [--runs-only] [--keep]

Evaluates every run (and initial checkpoint) with vLLM through the same path as `rlscale evaluate --engine vllm`: worker
processes, one engine per size, weights swapped between runs, samples and scores written. The transformers engine's
scores are the study's own. Both draw with the same counter-based uniforms, so the samples themselves are compared,
not only their means. `seconds` is wall time of everything, engine starts included.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tasks.evaluate.launch import EvaluationLauncher
from tasks.evaluate.requests import make_requests, other_root
from tasks.evaluate.run import EvaluationRequest
from tasks.records.samples import read_samples
from tasks.records.scores import read_score
from tasks.study.params import load_params
from tasks.study.paths import StudyPaths


def run_orders(orders: list[EvaluationRequest]) -> float:
    """Evaluates all orders; returns wall seconds."""
    start = time.perf_counter()
    with EvaluationLauncher(orders[0].params) as launcher, ThreadPoolExecutor(launcher.slots) as threads:
        for done in [threads.submit(launcher.run, order) for order in orders]:
            done.result()
    return time.perf_counter() - start


def compare(orders: list[EvaluationRequest]) -> dict[str, float]:
    """Agreement of the samples and of pass@1 with the study's own scores."""
    pairs = equal = total = outside = 0
    gaps, seconds = [], 0.0
    for order in orders:
        paths = StudyPaths.of(order.params)
        for subject in order.policies:
            for name in order.benchmarks:
                a, b = (read_samples(paths.samples(subject, name, root)) for root in (None, order.root))
                equal += sum(x == y for x, y in zip(a, b, strict=True))
                total += len(a)
                theirs, mine = (read_score(paths.score(subject, name, root)) for root in (None, order.root))
                gaps.append(abs(mine.pass_at_1 - theirs.pass_at_1))
                outside += not theirs.low <= mine.pass_at_1 <= theirs.high
                seconds += mine.seconds
                pairs += 1
    return {
        "pairs": pairs,
        "samples": total,
        "equal_samples_share": equal / total,
        "largest_pass_at_1_gap": max(gaps),
        "mean_pass_at_1_gap": sum(gaps) / len(gaps),
        "outside_95_interval": outside,
        "generation_and_grading_seconds": seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--runs-only", action="store_true", help="leave the initial checkpoints out")
    parser.add_argument("--keep", action="store_true", help="continue; seconds then count only what was missing")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    params = load_params(chosen.params)
    if not chosen.keep:
        shutil.rmtree(other_root(params, "vllm"), ignore_errors=True)
    own, orders = make_requests(params), make_requests(params, engine="vllm")
    run_orders(own)  # nothing to do where the study is finished
    if chosen.runs_only:
        orders = [
            EvaluationRequest(o.params, tuple(policy for policy in o.policies if policy.run), o.benchmarks, o.root)
            for o in orders
        ]
    seconds = run_orders(orders)
    result = {"policies": sum(len(o.policies) for o in orders), "engines": len(orders), "seconds": seconds}
    result |= compare(orders)
    if chosen.json:
        print(json.dumps(result, indent=1))
        return
    for name, value in result.items():
        print(f"{name:<32} {value:>12.4g}")


if __name__ == "__main__":
    main()
