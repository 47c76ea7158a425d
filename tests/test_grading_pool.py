"""The pool: order, limits, replacement of workers, and that nothing is left behind however the caller ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.grading import GradeRequest, GradeStats, GradingPool
from tasks.grading.time_limits import MAX_STRETCH
from tasks.study.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
# The parser computes this greatest common divisor while it reads it: seconds in C code, deaf to signals.
HANGS = "\\boxed{\\gcd(10^{10^8},3)}"
SLOW_BUT_RIGHT = ("\\boxed{\\frac{\\sqrt{12}}{2}}", "\\sqrt{3}")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pool() -> Iterator[GradingPool]:
    with GradingPool(workers=2, seconds=20.0) as opened:
        yield opened


def math(completion: str, gold: str) -> GradeRequest:
    return GradeRequest("math", completion, gold)


def needing_a_worker(count: int) -> list[GradeRequest]:
    """Answers x + n to golds n + x, every third one wrong."""
    return [math(f"\\boxed{{\\sin(x) + {n + (n % 3 == 0)}}}", f"{n} + \\sin(x)") for n in range(count)]


def children_of(pid: int) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == pid:
                found.add(int(entry.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone_within(seconds: float, pids: set[int]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(map(alive, pids)):
            return True
        time.sleep(0.05)
    return False


def test_verdicts_come_in_the_order_of_the_answers(pool: GradingPool) -> None:
    answers = needing_a_worker(24)
    mixed = [each for answer in answers for each in (answer, math("\\boxed{7}", "7"))]
    verdicts = pool.grade(mixed)
    assert [verdict.correct for verdict in verdicts[::2]] == [n % 3 != 0 for n in range(24)]
    assert all(verdict.correct for verdict in verdicts[1::2])


def test_plain_numbers_start_no_process_and_cost_microseconds() -> None:
    answers = [GradeRequest("arithmetic", f"<think> \\boxed{{{n % 97}}}", str(n % 50)) for n in range(1000)]
    with GradingPool() as fresh:
        before = children_of(os.getpid())
        fresh.grade(answers)
        fastest = min(_seconds(lambda: fresh.grade(answers)) for _ in range(5))
        assert children_of(os.getpid()) == before
        assert fresh.last_stats.fast_path == 1000
    assert fastest < 0.05


def _seconds(body: Callable[[], object]) -> float:
    start = time.perf_counter()
    body()
    return time.perf_counter() - start


def test_equal_pairs_are_graded_once_and_cached(pool: GradingPool) -> None:
    answers = [math("\\boxed{y + 1 + 1}", "y + 2")] * 8
    assert all(verdict.correct for verdict in pool.grade(answers))
    assert (pool.last_stats.fast_path, pool.last_stats.remembered) == (0, 7)
    assert all(verdict.correct for verdict in pool.grade(answers))
    assert pool.last_stats.remembered == 8


def test_a_hung_worker_is_replaced_its_answer_tried_again_and_the_rest_graded() -> None:
    answers = needing_a_worker(6)
    answers.insert(3, math(HANGS, "3"))
    with GradingPool(workers=2, seconds=2.0) as limited:
        verdicts = limited.grade(answers)
        hung = verdicts.pop(3)
        assert (hung.status, hung.lenient, hung.reason) == ("wrong", 0.0, "timed out")
        assert 3.0 <= hung.seconds < 1.5 * 2.0 * MAX_STRETCH + 1.0
        assert [verdict.correct for verdict in verdicts] == [n % 3 != 0 for n in range(6)]
        assert (limited.last_stats.timed_out, limited.last_stats.retried) == (1, 1)
        assert limited.last_stats.timed_out_rate == pytest.approx(1 / 7)
        assert limited.grade([math(*SLOW_BUT_RIGHT)])[0].correct


def test_no_verdict_is_lost_when_a_worker_dies(pool: GradingPool) -> None:
    pool.grade(needing_a_worker(4))
    workers = {child for fork_server in children_of(os.getpid()) for child in children_of(fork_server)}
    assert workers
    for worker in workers:
        os.kill(worker, signal.SIGKILL)
    verdicts = pool.grade([math(f"\\boxed{{z + {n}}}", f"{n} + z") for n in range(1, 9)])
    assert all(verdict.correct for verdict in verdicts)
    assert pool.last_stats.timed_out == 0


def test_an_answer_that_needs_too_much_memory_is_wrong_and_the_next_one_graded() -> None:
    program = "```python\nx = bytearray(600 << 20)\n```"
    with GradingPool(workers=1, seconds=10.0, memory_mb=512) as small:
        code = small.grade([GradeRequest("codegen__humaneval", program, '{"functional": "assert x"}')])[0]
        assert (code.status, code.reason) == ("wrong", "the program ran out of memory")
        assert small.grade([math(*SLOW_BUT_RIGHT)])[0].correct


def test_many_threads_can_share_a_pool(pool: GradingPool) -> None:
    answers = needing_a_worker(12)
    results: dict[int, list[bool]] = {}

    def work(number: int) -> None:
        results[number] = [verdict.correct for verdict in pool.grade(answers[number:] + answers[:number])]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [n % 3 != 0 for n in range(12)]
    assert results == {number: expected[number:] + expected[:number] for number in range(6)}


def test_workers_outlive_the_thread_that_started_them() -> None:
    with GradingPool(workers=1, seconds=20.0) as fresh:
        thread = threading.Thread(target=fresh.grade, args=([math(*SLOW_BUT_RIGHT)],))
        thread.start()
        thread.join()
        time.sleep(0.2)
        assert fresh.grade([math("\\boxed{\\sqrt{27}}", "3\\sqrt{3}")])[0].correct
        assert fresh.last_stats.retried == 0


def test_an_event_loop_stays_responsive_while_grading(pool: GradingPool) -> None:
    async def main() -> tuple[list[bool], int]:
        grading = asyncio.create_task(asyncio.to_thread(pool.grade, needing_a_worker(20)))
        ticks = 0
        while not grading.done():
            await asyncio.sleep(0.001)
            ticks += 1
        return [verdict.correct for verdict in await grading], ticks

    verdicts, ticks = asyncio.run(main())
    assert verdicts == [n % 3 != 0 for n in range(20)]
    assert ticks > 0


def test_an_unknown_data_source_is_refused_before_anything_is_graded(pool: GradingPool) -> None:
    total = pool.total_stats
    with pytest.raises(InputError, match="'physics'"):
        pool.grade([math("\\boxed{x}", "x+0"), GradeRequest("physics", "\\boxed{1}", "1")])
    assert pool.total_stats == total


def test_counts_add_up_and_make_a_row() -> None:
    stats = GradeStats(graded=4, right=1, unjudged=1, timed_out=2, fast_path=1, seconds=0.5)
    both = stats + stats
    assert (both.graded, both.timed_out_rate, both.unjudged_rate, both.fast_fraction) == (8, 0.5, 0.25, 0.25)
    assert both.row()["grading_seconds"] == 1.0
    assert GradeStats().timed_out_rate == 0.0


@pytest.mark.parametrize("arguments", [{"workers": 0}, {"seconds": 0.0}, {"memory_mb": 10}])
def test_impossible_limits_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="grading pool"):
        GradingPool(**arguments)  # type: ignore[arg-type]


def test_closing_ends_every_process_and_the_pool_can_be_used_again() -> None:
    fresh = GradingPool(workers=2, seconds=20.0)
    before = children_of(os.getpid())
    fresh.grade(needing_a_worker(4))
    fork_servers = children_of(os.getpid()) - before
    family = fork_servers | {child for fork_server in fork_servers for child in children_of(fork_server)}
    assert len(family) == 3
    fresh.close()
    assert gone_within(5.0, family)
    assert fresh.grade([math("\\boxed{\\sqrt{8}}", "2\\sqrt{2}")])[0].correct
    fresh.close()


CALLER = """
import sys
from tasks.grading import GradeRequest, GradingPool
pool = GradingPool(workers=2, seconds=60.0)
pool.grade([GradeRequest("math", "\\\\boxed{x + 1}", "1 + x"), GradeRequest("math", "\\\\boxed{x + 2}", "2 + x")])
print("started", flush=True)
pool.grade([GradeRequest("math", f"\\\\boxed{{\\\\gcd(10^{{10^8}},{n})}}", "3") for n in (3, 7)])
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_caller_ended_by_a_signal_leaves_no_process(ending: signal.Signals) -> None:
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )
    assert caller.stdout is not None
    assert caller.stdout.readline() == b"started\n"
    time.sleep(0.3)
    fork_servers = children_of(caller.pid)
    family = fork_servers | {child for fork_server in fork_servers for child in children_of(fork_server)}
    assert len(family) == 3
    os.killpg(caller.pid, ending)
    caller.wait(60)
    caller.stdout.close()
    assert gone_within(10.0, family)


def test_a_forked_child_gets_workers_of_its_own(pool: GradingPool) -> None:
    assert pool.grade([math(*SLOW_BUT_RIGHT)])[0].correct
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            verdict = pool.grade([math("\\boxed{\\sqrt{50}}", "5\\sqrt{2}")])[0]
            pool.close()
            code = 0 if verdict.correct else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert pool.grade([math("\\boxed{\\sqrt{18}}", "3\\sqrt{2}")])[0].correct
    assert pool.last_stats.retried == 0


def test_grading_works_under_accelerate_launch(tmp_path: Path) -> None:
    script = tmp_path / "graded.py"
    script.write_text(
        "from accelerate import Accelerator\n"
        "from tasks.grading import GradeRequest, GradingPool\n"
        "accelerator = Accelerator(cpu=True)\n"
        "with GradingPool(workers=1, seconds=60.0) as pool:\n"
        "    answers = [('\\\\boxed{x+1}', '1+x'), ('\\\\boxed{8}', '7')]\n"
        "    verdicts = pool.grade([GradeRequest('math', *answer) for answer in answers])\n"
        "accelerator.wait_for_everyone()\n"
        "print(accelerator.process_index, [verdict.status for verdict in verdicts], flush=True)\n"
    )
    arguments = ["--cpu", "--num_processes", "1", "--num_machines", "1", "--mixed_precision", "no"]
    done = subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *arguments, "--dynamo_backend", "no", str(script)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.splitlines()[-1] == "0 ['right', 'wrong']"
