"""GGUF files as ordinary checkpoints: weights in float32, tokenizer, chat template; by transformers' own reader.

A quantized file is unpacked once: what it holds of precision is all that the initial model has.
"""

from __future__ import annotations

import importlib.util
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any

from tasks.study.errors import InputError

PACKAGE = "package:"
"""`package:NAME` stands for the folder of an installed Python package that carries a checkpoint."""


def local_folder(repository: str) -> Path | None:
    """The folder that stands for a repository, or None: it lies on the hub.

    Raises:
        InputError: `package:NAME` of a package that is not installed.
    """
    if not repository.startswith(PACKAGE):
        folder = Path(repository)
        return folder.resolve() if folder.is_dir() else None
    name = repository.removeprefix(PACKAGE)
    found = importlib.util.find_spec(name) if name.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise InputError(f"pretrain.family: {repository}: no Python package {name!r} is installed here")
    return Path(next(iter(found.submodule_search_locations)))


def gguf_in(folder: Path) -> Path | None:
    """The GGUF file of a folder that is no transformers checkpoint itself.

    Raises:
        InputError: several.
    """
    files = sorted(folder.glob("*.gguf"))
    if (folder / "config.json").is_file() or not files:
        return None
    if len(files) > 1:
        raise InputError(f"{folder}: {len(files)} GGUF files ({', '.join(file.name for file in files)}), expected one")
    return files[0]


def convert(file: Path, folder: Path) -> list[str]:
    """Writes a GGUF file as a checkpoint into a folder; returns the names of its files.

    Raises:
        InputError: the package gguf is missing, or transformers cannot read the file.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if importlib.util.find_spec("gguf") is None:
        raise InputError(f"{file}: reading it needs the package gguf (requirements/smollm.lock)")
    try:
        loaded = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    except (OSError, ValueError, KeyError, IndexError, NotImplementedError, struct.error) as error:
        raise InputError(f"{file}: transformers cannot read it ({type(error).__name__}: {error})") from error
    config = type(loaded.config)(**_plain(loaded.config.to_dict()))
    model = type(loaded)(config)
    model.load_state_dict(loaded.state_dict())
    model.generation_config = loaded.generation_config
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".convert-") as scratch:
        model.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        names = sorted(path.name for path in Path(scratch).iterdir())
        for name in names:
            shutil.move(Path(scratch) / name, folder / name)
    return names


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """A config without what says that the weights lie in a GGUF file."""
    dropped = ("quantization_config", "_name_or_path", "_model_name_or_path", "transformers_version")
    return {key: value for key, value in config.items() if key not in dropped}
