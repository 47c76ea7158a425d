"""A home of its own for a test run and for every process that the tests start; the user's own stays as it was."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

OWNER = "RLSCALE_TEST_HOME"
"""Names the temporary home; set by the process that made it, inherited by all others."""

# What the libraries in use would take instead of a place below HOME, as paths below the temporary home.
_PLACES = {
    "HOME": "",
    "XDG_CACHE_HOME": ".cache",
    "XDG_CONFIG_HOME": ".config",
    "XDG_DATA_HOME": ".local/share",
    "XDG_STATE_HOME": ".local/state",
    "HF_HOME": ".cache/huggingface",
    "MPLCONFIGDIR": ".config/matplotlib",
    "PREFECT_HOME": ".prefect",
    "DVC_GLOBAL_CONFIG_DIR": ".config/dvc",
    "DVC_SYSTEM_CONFIG_DIR": ".config/dvc-system",
    "DVC_SITE_CACHE_DIR": ".cache/dvc-site",
    "TORCH_HOME": ".cache/torch",
    "TORCHINDUCTOR_CACHE_DIR": ".cache/torchinductor",
    "TORCH_EXTENSIONS_DIR": ".cache/torch-extensions",
    "TRITON_HOME": "",
    "NUMBA_CACHE_DIR": ".cache/numba",
    "VLLM_CACHE_ROOT": ".cache/vllm",
    "VLLM_CONFIG_ROOT": ".config/vllm",
    "FLASHINFER_WORKSPACE_BASE": "",
    "CUDA_CACHE_PATH": ".nv",
}
# Settings of this machine's user that outrank those above or would send a test elsewhere.
_REMOVED = ("HF_", "HUGGINGFACE_", "TRANSFORMERS_", "PREFECT_", "MLFLOW_", "DVC_", "TRITON_", "VLLM_")
# Where these libraries write by default. Other programs may change the rest of a home meanwhile; where a home belongs
# to the run alone, as in `.ci/run`, all of it is looked at afterwards.
_WATCHED = (
    *(
        f".cache/{name}"
        for name in ("huggingface", "torch", "vllm", "matplotlib", "dvc", "flashinfer", "numba", "mlflow")
    ),
    *(f".config/{name}" for name in ("matplotlib", "vllm", "dvc", "iterative", "mlflow")),
    *(".prefect", ".triton", ".mlflow", ".dvc", ".nv", ".torch"),
)

State = dict[str, tuple[int, int]]


def enter() -> tuple[Path, State] | None:
    """Moves this process into a new temporary home, which goes when the process ends.

    Returns:
        The real home and its state, or None in a process that already lives in a temporary home.
    """
    if OWNER in os.environ:
        return None
    real = Path.home()
    before = state(real)
    home = Path(tempfile.mkdtemp(prefix="rlscale-home-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    for name in [name for name in os.environ if name.startswith(_REMOVED)]:
        del os.environ[name]
    for name, place in _PLACES.items():
        (home / place).mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(home / place)
    os.environ[OWNER] = str(home)
    return real, before


def state(home: Path) -> State:
    """Time of change (ns) and size of all files that the libraries in use may have in a home, by relative path."""
    found = {}
    for place in _WATCHED:
        for folder, _, files in os.walk(home / place):
            for name in files:
                path = Path(folder, name)
                facts = path.lstat()
                found[str(path.relative_to(home))] = (facts.st_mtime_ns, facts.st_size)
    return found


def changes(home: Path, before: State) -> list[str]:
    """The files that are new, changed or gone since `before`."""
    after = state(home)
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
