"""Fixtures that several test modules share, and the rule about tests that need vLLM."""

from __future__ import annotations

import importlib
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Workers and this process share few cores; one thread each is faster than many that wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under CI a skipped vLLM test counts as failed: an engine that nobody ran is not a tested engine."""
    report = yield
    if report.skipped and os.environ.get("RLSCALE_REQUIRE_VLLM") and item.get_closest_marker("vllm"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, but RLSCALE_REQUIRE_VLLM is set"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself whole."""
    report = yield
    if report.skipped and os.environ.get("RLSCALE_REQUIRE_VLLM") and "vllm" in collector.nodeid:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid} was skipped, but RLSCALE_REQUIRE_VLLM is set"
    return report


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def prefect_api() -> Iterator[None]:
    """A Prefect API for the whole session, on a database of its own."""
    importlib.import_module("flows")  # sets Prefect's defaults, before Prefect is imported
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
