r"""Times 4,096 verdicts, 8 completions for each of 512 problems and 1 % of them hostile, against serial math-verify.

    python benchmarks/grading_speed.py [--skip-hostile-reference]

Ours: two workers, from nothing (processes not yet started) and with processes that run already, in wall seconds, and
processor seconds of all processes beside them (on a busy machine only those can be compared). The reference is
`verify(parse(gold), parse(completion))` with its defaults, one after another in the main thread. It is timed on the
same answers without the hostile ones, some of which hang it for ever (C code hears no alarm); those it gets one by one
in a process of its own that is killed after ten seconds. Also: what 1,000 boxed integers cost.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import random
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from grading_hostile import hostile_answers
from grading_pairs import equivalent, gold_answers, perturbed, solution

from tasks.grading import GradeRequest, GradeStats, GradingPool

PROBLEMS, SAMPLES = 512, 8
HANGING_SECONDS = 10.0
# One for each of two workers.
WARM_UP = [GradeRequest("math", f"\\boxed{{x + {n}}}", f"{n} + x") for n in (1, 2)]


def mix(seed: int) -> tuple[list[GradeRequest], list[GradeRequest]]:
    """Returns the mix, and its hostile part. Half of the answers are long solutions, half short."""
    rng = random.Random(seed)
    golds = rng.sample(gold_answers(), PROBLEMS)
    answers: list[GradeRequest] = []
    for gold in golds:
        for _ in range(SAMPLES):
            text = rng.choice([gold, gold, equivalent(gold, rng), perturbed(gold, rng), perturbed(gold, rng)])
            completion = rng.choice([solution(text, rng), f"The answer is \\boxed{{{text}}}."])
            answers.append(GradeRequest("math", completion, gold))
    places = rng.sample(range(len(answers)), len(answers) // 100)
    hostile = [text for _, text in hostile_answers(len(places), seed)]
    for place, completion in zip(places, hostile, strict=True):
        answers[place] = GradeRequest("math", completion, answers[place].ground_truth)
    return answers, [answers[place] for place in places]


def reference(answer: GradeRequest) -> bool:
    from math_verify import parse, verify

    return bool(verify(parse(f"\\boxed{{{answer.ground_truth}}}"), parse(answer.completion)))


def killed_reference(answer: GradeRequest) -> float:
    """Returns the seconds math-verify takes, at most ten."""
    start = time.perf_counter()
    process = multiprocessing.get_context("fork").Process(target=reference, args=(answer,))
    process.start()
    process.join(HANGING_SECONDS)
    process.kill()
    process.join()
    return time.perf_counter() - start


def processor_seconds() -> float:
    """Returns the processor seconds of this process and its finished children."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def ours(answers: list[GradeRequest]) -> list[tuple[str, GradeStats, list[bool]]]:
    """Grades the mix twice: by a new pool, and by one whose two workers run already."""
    results = []
    for name, warm_up in (("from nothing", []), ("processes running", WARM_UP)):
        with GradingPool(workers=2, seconds=1.0) as pool:
            pool.grade(warm_up)
            verdicts = pool.grade(answers)
            results.append((name, pool.last_stats, [verdict.correct for verdict in verdicts]))
    return results


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--skip-hostile-reference", action="store_true")
    options = arguments.parse_args()
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    answers, hostile = mix(seed=0)
    whole = {}
    for name, stats, _ in ours(answers):
        whole[name] = stats.seconds
        print(f"ours, {name}: {stats.graded} verdicts in {stats.seconds:.2f} s; right {stats.right}")
        shares = f"fast path {stats.fast_path / stats.graded:.3f}, remembered {stats.remembered / stats.graded:.3f}"
        print(f"  {shares}, aborted {stats.timed_out}")
    ordinary = [answer for answer in answers if answer not in set(hostile)]
    before = processor_seconds()
    with GradingPool(workers=2, seconds=20.0) as pool:
        verdicts = [verdict.correct for verdict in pool.grade(ordinary)]
        seconds = pool.last_stats.seconds
    with GradingPool(workers=2, seconds=20.0) as pool:
        pool.grade(WARM_UP)
        pool.grade(ordinary)
        running = pool.last_stats.seconds
    processor = (processor_seconds() - before) / 2
    reference(GradeRequest("math", "\\boxed{1}", "1"))
    start, before = time.perf_counter(), processor_seconds()
    expected = [reference(answer) for answer in ordinary]
    serial, serial_processor = time.perf_counter() - start, processor_seconds() - before
    differing = sum(one != other for one, other in zip(verdicts, expected, strict=True))
    print(
        f"without the {len(hostile)} hostile: ours {seconds:.2f} s from nothing, {running:.2f} s with processes running"
    )
    print(f"  {processor:.2f} s of processor each on average, starting included")
    print(f"  serial math-verify {serial:.2f} s ({serial_processor:.2f} s of processor)")
    print(f"  ratio {serial / seconds:.1f} from nothing, {serial / running:.1f} with processes running")
    print(f"  {differing} verdicts differ")
    if not options.skip_hostile_reference:
        spent = sum(map(killed_reference, hostile))
        print(f"math-verify on the hostile, each killed after {HANGING_SECONDS:.0f} s: {spent:.0f} s more")
        ratios = {name: (serial + spent) / seconds for name, seconds in whole.items()}
        print("  ratio on the whole mix: " + ", ".join(f"{ratio:.1f} {name}" for name, ratio in ratios.items()))
    numbers = [GradeRequest("arithmetic", f"\\boxed{{{n % 97}}}", str(n % 50)) for n in range(1000)]
    with GradingPool() as pool:
        best = min(pool.grade(numbers) and pool.last_stats.seconds for _ in range(20))
    print(f"1,000 boxed integers in the caller: {best * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
