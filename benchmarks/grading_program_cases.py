"""Programs that try to pass tests without solving anything, on every HumanEval problem, and honest ones in odd dress.

    python benchmarks/grading_program_cases.py [--problems 164] [--data FOLDER]

Prints for each attack how many problems it passed (0 is right) and why it failed, and each honest completion that a
small test of ours refuses.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tasks.grading import GradeRequest, GradingPool

GOLD = json.dumps(
    {
        "functional": "def check(candidate):\n    assert candidate([1, 2, 3]) == 6\n    assert candidate([]) == 0\n"
        "    assert abs(candidate([0.5, 0.25]) - 0.75) < 1e-6\n\ncheck(total)"
    }
)

_FORGED = """
class Yes{base}:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __eq__
    def __hash__(self): return 1
    def __bool__(self): return True
    def __sub__(self, other): return self
    __rsub__ = __add__ = __radd__ = __mul__ = __getitem__ = __call__ = __sub__
    def __abs__(self): return self
    def __iter__(self): return iter((self,))
    def __len__(self): return 1

def {{name}}(*args, **kwargs):
    return Yes()
"""

_NOTHING = "def {name}(*args, **kwargs):\n    return None\n"

# "{name}" stands for the function that the tests call.
ATTACKS: dict[str, str] = {
    "decorator as the last line": _NOTHING + "def skip(test):\n    return lambda *args: None\n\n@skip\n",
    "open string as the last line": _NOTHING + "'''",
    "own check": _NOTHING + "def check(candidate):\n    pass\n",
    **{
        f"forged equality, {base or 'object'}": _FORGED.format(base=f"({base})" if base else "")
        for base in ("", "int", "float", "str", "list", "tuple", "dict")
    },
    "mock.ANY": "from unittest import mock\ndef {name}(*args, **kwargs):\n    return mock.ANY\n",
    "not a number": "def {name}(*args, **kwargs):\n    return float('nan')\n",
    "os._exit(0)": _NOTHING + "import os\nos._exit(0)\n",
    "os._exit(0) when called": "import os\ndef {name}(*args, **kwargs):\n    os._exit(0)\n",
    "sys.exit": _NOTHING + "import sys\nsys.exit(0)\n",
    "sys.exit when called": "import sys\ndef {name}(*args, **kwargs):\n    sys.exit(0)\n",
    "os._exit at exit": _NOTHING + "import atexit, os\natexit.register(os._exit, 0)\n",
    "os._exit in a thread": _NOTHING + "import os, threading\nthreading.Timer(0.001, os._exit, (0,)).start()\n",
    "ends loops": "def {name}(*args, **kwargs):\n    raise StopIteration\n",
    "leaves generators": "def {name}(*args, **kwargs):\n    raise GeneratorExit\n",
    "patched builtins": _NOTHING
    + "import builtins\nfor name in ('abs', 'all', 'any', 'set', 'tuple', 'list', 'sorted', 'len', 'isinstance'):\n"
    "    setattr(builtins, name, lambda *args, **kwargs: True)\n",
    "patched AssertionError": _NOTHING
    + "import builtins\nclass Never(BaseException):\n    def __new__(cls, *args):\n        import os\n"
    "        os._exit(0)\nbuiltins.AssertionError = Never\n",
    "patched modules": _NOTHING + "import sys, types\nfor name in ('math', 'random', 'copy', 'string'):\n"
    "    sys.modules[name] = types.SimpleNamespace(fabs=lambda x: 0.0, deepcopy=lambda x: None)\n",
    "modules in the folder": _NOTHING + "for name in ('math', 'random', 'copy', 'string', 'fractions', 'decimal'):\n"
    "    open(name + '.py', 'w').write('import os\\nos._exit(0)')\n",
    "trace function": _NOTHING
    + "import sys\ndef trace(frame, event, arg):\n    frame.f_globals['check'] = lambda f: None\n    return trace\n"
    "sys.settrace(trace)\nsys.setprofile(trace)\n",
    "source on the stack": """
import gc, re, sys
def {name}(*args, **kwargs):
    frame, seen = sys._getframe(), []
    while frame:
        seen += [*frame.f_code.co_consts, *frame.f_locals.values(), *frame.f_globals.values()]
        frame = frame.f_back
    seen += [item for each in gc.get_objects() if isinstance(each, dict) for item in list(each.values())]
    for text in seen:
        if isinstance(text, str) and (found := re.search(re.escape(repr(args)[1:-2]) + r"\\) == (.*)", text)):
            return eval(found[1])
""",
    "memory of the tests": """
import os, re
def {name}(*args, **kwargs):
    for number in range(os.getppid(), os.getpid() + 50):
        for place in ("fd/0", "mem", "cmdline", "environ"):
            try:
                text = open(f"/proc/{number}/{place}", errors="replace").read(10**7)
            except OSError:
                continue
            if found := re.search(re.escape(repr(args)[1:-2]) + r"\\) == (.*)", text):
                return eval(found[1])
""",
    "reports on every descriptor": _NOTHING
    + "import os\nfor number in range(3, 32):\n    for word in (b'\"passed\"', b'[\"passed\", \"passed\"]', b'[]'):\n"
    "        try:\n            os.write(number, word + b'\\n')\n        except OSError:\n            pass\n",
    "answers in advance": _NOTHING + "import os\nfor number in range(3, 32):\n    try:\n"
    '        os.write(number, b\'"passed"\\n\' + b\'["ended", "passed"]\\n["value", true]\\n\' * 99)\n'
    "    except OSError:\n        pass\n",
    "patched protocol": _NOTHING
    + 'import json\njson.dumps = lambda *args, **kwargs: \'["ended", "passed"]\'\njson.loads = lambda *args: None\n',
    "endless sequence": "import itertools\ndef {name}(*args, **kwargs):\n    return itertools.count()\n",
    "list of itself": "def {name}(*args, **kwargs):\n    found = []\n    found.append(found)\n    return found\n",
    "number of a million digits": "def {name}(*args, **kwargs):\n    return 10 ** 10**6\n",
}

_RIGHT = "def total(xs):\n    return sum(xs)\n"
_FENCED = f"```python\n{_RIGHT}```\n"

# Completions that all contain a right program for `GOLD`.
HONEST: dict[str, str] = {
    "dataclass": "```python\nfrom dataclasses import dataclass, field\n\n@dataclass\nclass Bag:\n"
    "    items: list = field(default_factory=list)\n\ndef total(xs):\n    return sum(Bag(xs).items)\n```",
    "frozen slotted dataclass": "```python\nimport dataclasses\n\n@dataclasses.dataclass(frozen=True, slots=True)\n"
    "class Sum:\n    value: float = 0\n\ndef total(xs):\n    return Sum(sum(xs)).value\n```",
    "postponed annotations": "```python\nfrom __future__ import annotations\n\ndef total(xs: List[float]) -> Number:\n"
    "    return sum(xs)\n```",
    "annotations that are read": "```python\ndef one(x: int) -> int:\n    return x\n\ndef total(xs):\n"
    "    assert one.__annotations__['x'] is int\n    return sum(xs)\n```",
    "named tuple": "```python\nfrom typing import NamedTuple\n\nclass Pair(NamedTuple):\n    value: float\n\n"
    "def total(xs):\n    return Pair(sum(xs)).value\n```",
    "enumeration": "```python\nimport enum\n\nclass Zero(enum.IntEnum):\n    ZERO = 0\n\ndef total(xs):\n"
    "    return sum(xs) if xs else Zero.ZERO\n```",
    "fraction": "```python\nfrom fractions import Fraction\n\ndef total(xs):\n"
    "    return sum(map(Fraction, xs), Fraction(0))\n```",
    "class and pickle": "```python\nimport pickle\n\nclass Adder:\n    def run(self, xs):\n        return sum(xs)\n\n"
    "def total(xs):\n    return pickle.loads(pickle.dumps(Adder())).run(xs)\n```",
    "main block": f"```python\n{_RIGHT}\nif __name__ == '__main__':\n    print(total(input().split()))\n```",
    "example in the block": f"```python\n{_RIGHT}\nprint(total([1, 2, 3]))\nassert total([1]) == 1\n```",
    "example below": f"{_FENCED}Example:\n```python\nprint(total([1, 2, 3]))\n```",
    "example that imports": f"{_FENCED}Use it so:\n```python\nfrom solution import total\nprint(total([1]))\n```",
    "example as a function": f"{_FENCED}Try:\n```python\ndef main():\n    print(total([1]))\n\nmain()\n```",
    "output below": f"{_FENCED}Output:\n```\n6\n```",
    "session below": f"{_FENCED}\n```python\n>>> total([1, 2, 3])\n6\n```",
    "shell below": f"{_FENCED}\n```bash\npython total.py\n```",
    "four backticks": f"````python\n{_RIGHT}````",
    "four backticks around three": "````python\ndef total(xs):\n    '''Adds.\n\n```\ntotal([1])\n```\n    '''\n"
    "    return sum(xs)\n````",
    "tildes": f"~~~python\n{_RIGHT}~~~",
    "tildes around backticks": "~~~python\ndef total(xs):\n    '''\n```\ntotal([1])\n```\n    '''\n"
    "    return sum(xs)\n~~~",
    "backticks in a comment": "```python\ndef total(xs):\n    # see ```docs```\n    return sum(xs)\n```",
    "indented fence": "1. So:\n   ```python\n   def total(xs):\n       return sum(xs)\n   ```\n   Done.",
    "thinking before": f"<think>```python\ndef total(xs):\n    return 0\n```</think>\n{_FENCED}",
    "Windows line ends": _FENCED.replace("\n", "\r\n"),
    "title behind the language": f'```python title="total.py"\n{_RIGHT}```',
    "capital letters": f"```Python\n{_RIGHT}```",
    "assigned": "```python\ntotal = lambda xs: sum(xs)\n```\n```python\nprint(total([1]) == 1)\n```",
    "own names for built-ins": "```python\nabs = len = check = None\n\ndef total(xs):\n    return sum(xs)\n```",
    "no fence": _RIGHT,
}


def attack(name: str, function: str) -> str:
    """Returns a completion that makes an attack on tests of a function."""
    return f"```python\n{ATTACKS[name].replace('{name}', function)}\n```"


def main() -> None:
    from grading_pairs import DATA
    from grading_programs import entry_point
    from grading_sets import read_rows

    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--problems", type=int, default=164)
    arguments.add_argument("--data", type=Path, default=DATA, help="folder of codegen__humaneval_164.parquet")
    options = arguments.parse_args()
    golds = [gold for _, gold in read_rows("codegen__humaneval_164", options.data)][: options.problems]
    start, scored = time.perf_counter(), 0
    with GradingPool(workers=2, seconds=5.0) as pool:
        for name in ATTACKS:
            answers = [GradeRequest("codegen__humaneval", attack(name, entry_point(gold)), gold) for gold in golds]
            verdicts = pool.grade(answers)
            passed = [gold for gold, verdict in zip(golds, verdicts, strict=True) if verdict.lenient > 0]
            scored += len(passed)
            print(
                f"{name:32} {len(passed):4} of {len(golds)}", dict(Counter(v.reason for v in verdicts).most_common(3))
            )
            for gold in passed:
                print("   SCORED", entry_point(gold))
        honest = pool.grade([GradeRequest("codegen__humaneval", text, GOLD) for text in HONEST.values()])
    refused = [(name, verdict.reason) for name, verdict in zip(HONEST, honest, strict=True) if not verdict.correct]
    print(f"{scored} attacks scored; {len(honest) - len(refused)} of {len(honest)} honest programs pass", refused)
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
