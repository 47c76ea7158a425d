"""Programs run in the sandbox: right ones pass, and none gets away with anything."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.grading import GradeRequest, GradingPool, Verdict
from tasks.grading.sandbox import run_program
from tasks.grading.scorers.code import extract_program
from tasks.grading.time_limits import MAX_STRETCH

GOLD = json.dumps({"functional": "def check(f):\n    assert f(2) == 4\n    assert f(-3) == 9\n\ncheck(square)"})
RIGHT = "def square(x):\n    return x * x\n"
LIMIT = 2.0

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pool() -> Iterator[GradingPool]:
    with GradingPool(workers=1, seconds=LIMIT) as opened:
        yield opened


def grade(pool: GradingPool, program: str, gold: str = GOLD) -> Verdict:
    return pool.grade([GradeRequest("codegen__humaneval", f"Here:\n```python\n{program}\n```\nDone.", gold)])[0]


def test_a_right_program_passes_its_tests(pool: GradingPool) -> None:
    verdict = grade(pool, RIGHT)
    assert (verdict.status, verdict.lenient, verdict.reason) == ("right", 1.0, "the tests passed")


def test_a_wrong_program_fails_them(pool: GradingPool) -> None:
    verdict = grade(pool, "def square(x):\n    return x + x")
    assert (verdict.status, verdict.lenient, verdict.reason) == ("wrong", 0.0, "a test failed")


MISBEHAVING = {
    "infinite loop": ("while True:\n    pass", "the program timed out"),
    "fork bomb": ("import os\nwhile True:\n    os.fork()", "PermissionError was raised"),
    "stubborn fork bomb": (
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
        "the program timed out",
    ),
    "thread bomb": (
        "import threading, time\nwhile True:\n    threading.Thread(target=time.sleep, args=(99,)).start()",
        "RuntimeError was raised",
    ),
    "memory bomb": ("x = bytearray(10**10)", "the program ran out of memory"),
    "disk filler": ("f = open('here', 'wb')\nwhile True:\n    f.write(b'x' * 10**6)", "OSError was raised"),
    "network caller": ("import socket\nsocket.create_connection(('127.0.0.1', 9))", "PermissionError was raised"),
    "name resolver": ("import socket\nsocket.getaddrinfo('localhost', 80)", "gaierror was raised"),
    "os._exit(0)": ("import os\nos._exit(0)", "the program ended early with code 0"),
    "sys.exit(0)": ("raise SystemExit(0)", "the program called exit"),
    "killer": ("import os\nos.kill(os.getppid(), 9)", "PermissionError was raised"),
    "killer of everybody": ("import os\nos.kill(-1, 9)", "PermissionError was raised"),
    "shell": ("import os\nassert os.system('true') == 0", "a test failed"),
    "secret reader": ("open('/etc/passwd').read()", "PermissionError was raised"),
    "environment reader": ("import os\nassert os.environ['HOME']", "KeyError was raised"),
    "limit lifter": (
        "import resource\nresource.setrlimit(resource.RLIMIT_CPU, (-1, -1))",
        "ValueError was raised",
    ),
    "mode changer": ("import os\nos.chmod('.', 0o777)", "PermissionError was raised"),
    "crasher": ("import ctypes\nctypes.string_at(0)", "the program ended early with code -11"),
    "own success report": ("print('passed')\nimport os\nos._exit(0)", "the program ended early with code 0"),
    "syntax error": ("def square(x:", "SyntaxError was raised"),
    "endless recursion": ("def f():\n    f()\nf()", "RecursionError was raised"),
    "reader of input": ("input()", "EOFError was raised"),
}


@pytest.mark.parametrize("name", MISBEHAVING)
def test_a_misbehaving_program_fails_within_the_limit(pool: GradingPool, name: str) -> None:
    program, reason = MISBEHAVING[name]
    verdict = grade(pool, f"{program}\n{RIGHT}")
    assert (verdict.status, verdict.lenient, verdict.reason) == ("wrong", 0.0, reason)
    # Twice the limit on a machine with a core to spare; a crowded one may stretch it, see
    # tasks.grading.time_limits.
    assert verdict.seconds < MAX_STRETCH * LIMIT + 1.0


def test_a_program_cannot_write_outside_its_folder_but_can_inside(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    assert not run_program(f"open({str(outside)!r}, 'w').write('x')", 5.0).passed
    assert not outside.exists()
    assert run_program("open('inside', 'w').write('x')\nassert open('inside').read() == 'x'", 5.0).passed


def test_a_program_finds_an_empty_folder_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run_program("import os\nassert os.listdir('.') == []\nopen('left', 'w').write('x')", 5.0).passed
    assert list(tmp_path.iterdir()) == []


def test_a_program_that_ignores_signals_is_gone_at_the_limit() -> None:
    program = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True:\n    pass"
    start = time.monotonic()
    outcome = run_program(program, 1.0)
    assert (outcome.passed, outcome.reason) == (False, "timed out")
    assert time.monotonic() - start < MAX_STRETCH + 1.0
    assert not [entry for entry in Path("/proc").iterdir() if _is_child_script(entry)]


def _is_child_script(entry: Path) -> bool:
    try:
        fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        return int(fields[1]) == os.getpid() and b"sandbox/child.py" in (entry / "cmdline").read_bytes()
    except (OSError, IndexError):
        return False


def test_the_standard_library_and_threads_work_inside() -> None:
    program = (
        "import collections, fractions, hashlib, heapq, itertools, math, random, re, statistics, string, typing\n"
        "import threading\nseen = []\nt = threading.Thread(target=seen.append, args=(1,))\nt.start()\nt.join()\n"
        "assert seen == [1] and hashlib.md5(b'').hexdigest()\n"
    )
    assert run_program(program, 10.0).reason == "passed"


@pytest.mark.parametrize(
    ("completion", "program"),
    [
        ("```python\na = 1\n```", "a = 1\n"),
        ("```\na = 1\n```", "a = 1\n"),
        ("```python\na = 1\n```\nbetter:\n```python\nb = 2\n```\nbye", "b = 2\n"),
        ("```python\na = 1\n```\n```text\noutput\n```", "a = 1\n"),
        ("```python\na = 1", "a = 1"),
        ("def f():\n    return 1", "def f():\n    return 1"),
        ("I cannot do this.", None),
        ("", None),
    ],
)
def test_the_last_python_block_is_the_program(completion: str, program: str | None) -> None:
    assert extract_program(completion) == program


@pytest.mark.parametrize("gold", ["", "not json", "[]", '{"functional": ""}', '{"stdin": "1"}'])
def test_tests_that_cannot_be_read_cannot_judge(pool: GradingPool, gold: str) -> None:
    assert grade(pool, RIGHT, gold).status == "unjudged"


def test_without_a_system_call_filter_nothing_is_run() -> None:
    from tasks.grading.sandbox import syscall_filter

    assert set(syscall_filter._ARCH) == {"x86_64", "aarch64"}
    for machine in syscall_filter._ARCH:
        for files in (False, True):
            code = syscall_filter.program(machine, files)
            assert len(code) % 8 == 0
            assert len(code) // 8 < 4096
