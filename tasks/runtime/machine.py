"""What this machine is and which packages it has, for `rlscale doctor` and the report's provenance."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """This machine. No host name: a report may be passed on.

    Attributes:
        python: version of the interpreter.
        system: operating system and architecture, e.g. Linux x86_64.
        platform: the same with versions.
        processor: name of the processor, else its architecture.
        cores: processor cores that this process may use.
        memory: main memory, bytes.
    """

    python: str
    system: str
    platform: str
    processor: str
    cores: int
    memory: int


def describe_machine() -> Machine:
    """Reads the machine's facts from the operating system."""
    return Machine(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        platform=platform.platform(),
        processor=_processor(),
        cores=usable_cores(),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )


def usable_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def package_versions(names: Iterable[str]) -> dict[str, str | None]:
    """Installed version of each package, None where it is not installed."""
    return {name: _version(name) for name in names}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    """Name of the processor as Linux gives it, else the architecture."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8", errors="replace").splitlines() if listing.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
