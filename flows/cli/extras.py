"""What the commands need beyond the base installation, told before any work begins."""

from __future__ import annotations

import importlib.util

from tasks.study.errors import InputError

STUDY_MODULES = (
    "accelerate",
    "dvc",
    "huggingface_hub",
    "mlflow",
    "peft",
    "prefect",
    "safetensors",
    "scipy",
    "tokenizers",
    "torch",
    "tqdm",
    "transformers",
    "uvicorn",
)
"""The import names of pyproject.toml's extra [study], as far as the program imports them itself."""


def require_study() -> None:
    """Says which extra is missing; imports nothing.

    Raises:
        InputError: one of the modules of the extra [study] is not installed.
    """
    missing = [name for name in STUDY_MODULES if importlib.util.find_spec(name) is None]
    if missing:
        named = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise InputError(
            f"this command needs the extra [study] (not installed here: {named}); "
            "install it in the project's folder with `make setup` or pip install -e '.[study]'"
        )
