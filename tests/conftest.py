"""The run's own home, fixtures that several test modules share, and what counts as a failure besides an assertion."""

from __future__ import annotations

import importlib
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from support import REPOSITORY, own_home, shared_folder

# Before anything is imported that reads these variables.
_REAL_HOME = own_home.enter()
_CHANGED: list[str] = []

# Workers and this process share few cores; one thread each is faster than many that wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

NO_SKIPS = "RLSCALE_NO_SKIPS"
"""Set by continuous integration: a skipped test counts as failed unless it needs a GPU, a Slurm or a browser."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under CI a skipped test counts as failed, what nobody ran is not tested: but for a GPU, a Slurm or a browser."""
    report = yield
    may_skip = any(item.get_closest_marker(name) for name in ("gpu", "slurm", "browser"))
    if report.skipped and not hasattr(report, "wasxfail") and not may_skip:
        _forbid_skip(report, item.nodeid)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself whole."""
    report = yield
    if report.skipped:
        _forbid_skip(report, collector.nodeid)
    return report


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport, name: str) -> None:
    if os.environ.get(NO_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"{name} was skipped, but {NO_SKIPS} is set"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests go first: with several workers (`-n`) a long one at the end would keep the others idle."""
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("vllm")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run that changed the user's own home has failed."""
    if _REAL_HOME is not None:
        _CHANGED.extend(own_home.changes(*_REAL_HOME))
    if _CHANGED:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names the files of the user's own home that changed."""
    if _CHANGED and _REAL_HOME is not None:
        terminalreporter.section("changed in the real home", red=True)
        for name in _CHANGED[:20]:
            terminalreporter.line(str(_REAL_HOME[0] / name))
        terminalreporter.line("Tests must write into their own folders only; or another program wrote there meanwhile.")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return REPOSITORY


@pytest.fixture(scope="session", params=["written", pytest.param("published", marks=pytest.mark.shared)])
def problem_sets(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of problem sets in the published layout: rows written for the tests, then the published files."""
    if request.param == "published":
        return shared_folder("guru_math")
    from support.problem_sets import write_problem_sets

    folder = tmp_path_factory.mktemp("problem_sets")
    write_problem_sets(folder)
    return folder


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """A Prefect API for the whole session, on a database of its own."""
    importlib.import_module("flows")  # sets Prefect's defaults, before Prefect is imported
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
