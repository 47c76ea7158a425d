"""The `pretrain` block: the family of models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from tasks.study.params.block import ConfigBlock, Fraction, Name


class SupervisedStage(ConfigBlock):
    """A supervised stage of the miniature family: AdamW with linear warm-up and cosine decay to a tenth."""

    steps: PositiveInt
    batch: PositiveInt = Field(description="Sequences per step.")
    learning_rate: PositiveFloat = Field(description="Peak, for hidden = 64; scaled by 64 / hidden for the others.")
    wrong_answers: Fraction = Field(
        description="Share of training answers replaced by a wrong one, after the clean part."
    )
    clean_share: Fraction = Field(description="Share of the steps, at the start, whose answers are all right.")


class TinyModel(ConfigBlock):
    """A size of the miniature family: the shape of a Qwen2ForCausalLM."""

    name: Name
    hidden: PositiveInt
    layers: PositiveInt
    heads: PositiveInt
    kv_heads: PositiveInt
    ffn: PositiveInt

    @model_validator(mode="after")
    def _shape_is_possible(self) -> TinyModel:
        if self.hidden % self.heads or (self.hidden // self.heads) % 2:
            raise ValueError("hidden must be heads times an even head size")
        if self.heads % self.kv_heads:
            raise ValueError("kv_heads must divide heads")
        return self


class TinyFamily(ConfigBlock):
    """Models trained here, from nothing, on arithmetic text."""

    kind: Literal["tiny"]
    added = frozenset({"seeds"})
    seed: int
    seeds: Literal["one", "per_run"] = Field(
        default="one",
        description="Initial models of a size: one for all its runs, or one for every seed of its runs.",
    )
    models: tuple[TinyModel, ...] = Field(min_length=1)
    base: SupervisedStage
    instruct: SupervisedStage


class HubModel(ConfigBlock):
    """A pinned pair of hub checkpoints.

    A local folder, relative to the params file's, may stand in for a repository, with revision null, and so may
    `package:NAME`, the folder of an installed Python package; a folder that holds a GGUF file alone is converted.
    """

    name: Name
    nominal: PositiveFloat = Field(description="Nominal parameter count, as published.")
    base: str
    base_revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None
    instruct: str
    instruct_revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None


class HubFamily(ConfigBlock):
    """Published checkpoints, resolved at pinned revisions."""

    kind: Literal["hub"]
    models: tuple[HubModel, ...] = Field(min_length=1)


class Pretrain(ConfigBlock):
    """The model family."""

    family: Annotated[TinyFamily | HubFamily, Field(discriminator="kind")]
