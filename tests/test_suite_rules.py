"""The rules of a test run itself: its own home, and no skipped tests under continuous integration."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import REPOSITORY
from support.own_home import OWNER

NO_SKIPS = "RLSCALE_NO_SKIPS"
pytestmark = pytest.mark.slow


def run_tests(folder: Path, body: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a module of tests under this suite's conftest, as a user with `folder`/user as home would."""
    (folder / "user").mkdir(exist_ok=True)
    path = folder / "test_it.py"
    path.write_text(f"import os\nimport pytest\nfrom pathlib import Path\n{body}")
    removed = (OWNER, NO_SKIPS, "PYTEST_ADDOPTS")
    kept = {name: value for name, value in os.environ.items() if name not in removed and not name.startswith("XDG_")}
    environment = kept | {"HOME": str(folder / "user"), "PYTHONPATH": str(REPOSITORY / "tests")} | variables
    command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-q", str(path)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_change_of_the_users_home_fails_the_run_and_is_named(tmp_path: Path) -> None:
    target = tmp_path / "user" / ".cache" / "huggingface" / "list.json"
    answer = run_tests(tmp_path, "def test_quiet():\n    Path('~/.cache/huggingface/x').expanduser().touch()\n")
    assert answer.returncode == 0, answer.stdout
    assert not (tmp_path / "user" / ".cache").exists()
    body = f"def test_loud():\n    p = Path({str(target)!r})\n    p.parent.mkdir(parents=True)\n    p.touch()\n"
    answer = run_tests(tmp_path, body)
    assert answer.returncode == 1
    assert "1 passed" in answer.stdout
    assert str(target) in answer.stdout


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("def test_one():\n    pytest.skip('no data')\n", 1),
        ("pytest.skip('no data', allow_module_level=True)\n", 2),
        ("@pytest.mark.gpu\ndef test_one():\n    pytest.skip('no GPU')\n", 0),
        ("@pytest.mark.xfail\ndef test_one():\n    assert False\n", 0),
    ],
)
def test_where_skips_are_forbidden_only_what_needs_a_gpu_may_skip(tmp_path: Path, body: str, code: int) -> None:
    answer = run_tests(tmp_path, body, **{NO_SKIPS: "1"})
    assert answer.returncode == code, answer.stdout
    assert (f"but {NO_SKIPS} is set" in answer.stdout) == bool(code)
    assert run_tests(tmp_path, body).returncode in {0, 5}
