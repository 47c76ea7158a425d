"""A checkpoint's shape: from its config, or for published checkpoints from a table before they are downloaded."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.costs.flops import Architecture
from tasks.records.models import read_models
from tasks.study.errors import InputError
from tasks.study.grid import model_spec
from tasks.study.manifests import read_manifest
from tasks.study.params import Params
from tasks.study.paths import StudyPaths

_TABLE = Path(__file__).with_name("published_shapes.toml")


@dataclass(frozen=True)
class ModelShape:
    """A checkpoint's shape.

    Attributes:
        architecture: widths and depths.
        tied: whether output and input embedding are one matrix.
    """

    architecture: Architecture
    tied: bool

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ModelShape:
        """Reads the fields of a transformers `config.json`.

        Raises:
            KeyError: one is missing.
        """
        return cls(Architecture.from_config(config), bool(config.get("tie_word_embeddings", False)))

    @property
    def embedding(self) -> int:
        """Parameters of one embedding matrix."""
        return self.architecture.vocab_size * self.architecture.hidden_size

    @property
    def total(self) -> int:
        """All parameters, tied ones once."""
        return self.architecture.n_params + self.embedding * (1 if self.tied else 2)

    @property
    def layer(self) -> int:
        """Parameters of a layer."""
        return self.architecture.n_params // self.architecture.num_hidden_layers

    def adapters(self, rank: int, targets: tuple[str, ...]) -> int:
        """Parameters of low-rank adapters."""
        a = self.architecture
        wide, narrow = a.num_attention_heads * a.head_dim, a.num_key_value_heads * a.head_dim
        sides = {
            "q_proj": a.hidden_size + wide,
            "k_proj": a.hidden_size + narrow,
            "v_proj": a.hidden_size + narrow,
            "o_proj": wide + a.hidden_size,
            "gate_proj": a.hidden_size + a.intermediate_size,
            "up_proj": a.hidden_size + a.intermediate_size,
            "down_proj": a.hidden_size + a.intermediate_size,
        }
        return a.num_hidden_layers * rank * sum(sides.get(target, 0) for target in targets)


def read_shape(checkpoint: Path) -> ModelShape:
    """Reads a checkpoint's shape from its config; loads nothing. Raises as `read_config`."""
    return ModelShape.from_config(read_config(checkpoint))


def read_config(checkpoint: Path) -> dict[str, Any]:
    """Reads a checkpoint's `config.json`.

    Raises:
        InputError: there is none, or not of a decoder like Qwen2.
    """
    try:
        config: dict[str, Any] = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
        ModelShape.from_config(config)
    except FileNotFoundError:
        raise InputError(
            f"{checkpoint}: no checkpoint (config.json is missing); run `rlscale pretrain` first"
        ) from None
    except KeyError as error:
        raise InputError(f"{checkpoint}/config.json: key {error} is missing; expected a Qwen2-like decoder") from None
    return config


def published_configs() -> dict[str, dict[str, Any]]:
    """`config.json` fields of the published checkpoints of the table, and `parameters`, by repository."""
    return tomllib.loads(_TABLE.read_text(encoding="utf-8"))


def find_config(params: Params, model: str) -> dict[str, Any]:
    """The `config.json` of an initial model: its checkpoint's, or before the pretrain stage the table's.

    Raises:
        InputError: the pretrain stage is not done, and the table does not have the model.
    """
    folder = StudyPaths.of(params).stage("pretrain")
    spec, variant = model_spec(params, model)
    published = published_configs()
    repository = getattr(spec, variant, "").removesuffix("-Instruct")
    if "models" not in (read_manifest(folder) or {}) and repository in published:
        return published[repository]
    return read_config(folder / read_models(folder)[model].path)
