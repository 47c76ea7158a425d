"""The `train` and `checkpoints` blocks: GRPO."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from tasks.study.params.block import ConfigBlock, Fraction


class Objective(ConfigBlock):
    """The GRPO objective: clipped surrogate minus KL to the initial policy; equations in `tasks.train.objective`."""

    added: ClassVar[frozenset[str]] = frozenset(
        {
            "loss",
            "clip_dual",
            "kl_clamp",
            "advantage_scale",
            "entropy_coefficient",
            "mask_truncated",
            "overlong_buffer",
        }
    )

    clip_low: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(description="Ratio is clipped below at 1 - clip_low.")
    clip_high: PositiveFloat = Field(description="Ratio is clipped above at 1 + clip_high.")
    kl_coefficient: Annotated[float, Field(ge=0.0)] = Field(
        description="Weight of the KL to the initial policy; 0 skips its pass."
    )
    kl_estimator: Literal["k1", "k2", "k3"] = Field(description="k3 = exp(d) - d - 1 with d = log ref - log policy.")
    aggregation: Literal["token_mean", "sequence_mean", "constant_length"] = Field(
        description="token_mean: sum over tokens / all tokens of the minibatch; "
        "sequence_mean: mean over sequences of their mean; "
        "constant_length: sum over tokens / (sequences x sampling.max_completion_tokens), as in Dr. GRPO."
    )
    advantage_eps: PositiveFloat = Field(description="A = (r - mean) / (std + eps), std unbiased over the group.")
    importance_cap: PositiveFloat | None = Field(
        description="Token-level truncated importance sampling: weight min(exp(trainer - sampler), cap). null: off."
    )
    loss: Literal["ppo", "cispo", "gspo"] = Field(
        default="ppo",
        description="ppo: clipped ratio of each token; gspo: clipped ratio of each sequence; "
        "cispo: every token's log-prob, weighted by its ratio up to 1 + clip_high.",
    )
    clip_dual: Annotated[float, Field(gt=1.0)] | None = Field(
        default=None, description="Where A < 0 the ratio counts up to this; above 1 + clip_high. null: no limit."
    )
    kl_clamp: PositiveFloat | None = Field(
        default=None, description="A token's KL estimate is cut to +- this, nats. null: off."
    )
    advantage_scale: Literal["group_std", "none"] = Field(
        default="group_std", description="none: A = r - mean, as in Dr. GRPO."
    )
    entropy_coefficient: Annotated[float, Field(ge=0.0)] = Field(
        default=0.0, description="Weight of the policy's mean token entropy, which is to be large."
    )
    mask_truncated: bool = Field(default=False, description="Completions cut at the length limit have no loss.")
    overlong_buffer: PositiveInt | None = Field(
        default=None,
        description="The reward falls linearly by up to 1 over the last so many tokens before the length limit. "
        "null: off.",
    )

    @model_validator(mode="after")
    def _limits_are_possible(self) -> Objective:
        if self.clip_dual is not None and self.loss == "cispo":
            raise ValueError("clip_dual has no place in loss cispo, whose weights are cut at 1 + clip_high")
        if self.clip_dual is not None and self.clip_dual <= 1.0 + self.clip_high:
            raise ValueError(f"clip_dual {self.clip_dual} must be above 1 + clip_high = {1.0 + self.clip_high}")
        return self


class Optimizer(ConfigBlock):
    """AdamW with a constant learning rate, after a linear warm-up if one is asked for."""

    added: ClassVar[frozenset[str]] = frozenset({"warmup_steps"})

    learning_rate: PositiveFloat
    weight_decay: Annotated[float, Field(ge=0.0)]
    beta1: Fraction
    beta2: Fraction
    eps: PositiveFloat
    grad_clip: PositiveFloat = Field(description="Global gradient norm is clipped to this.")
    warmup_steps: NonNegativeInt = Field(
        default=0, description="The rate of step s is learning_rate x min(1, s / warmup_steps)."
    )


class Sampling(ConfigBlock):
    """Rollouts. Lengths in tokens."""

    temperature: PositiveFloat
    top_p: Annotated[float, Field(gt=0.0, le=1.0)]
    max_prompt_tokens: PositiveInt
    max_completion_tokens: PositiveInt


class HeldoutEvaluation(ConfigBlock):
    """Held-out evaluation inside training: before the first step and after every `every`-th."""

    temperature: PositiveFloat
    top_p: Annotated[float, Field(gt=0.0, le=1.0)]
    samples: PositiveInt
    every: PositiveInt


class PromptStyle(ConfigBlock):
    """How each variant is prompted: `chat` applies the tokenizer's chat template, `plain` the bare problem text."""

    base: Literal["plain", "chat"]
    instruct: Literal["plain", "chat"]


class Checkpoints(ConfigBlock):
    """Which training checkpoints are kept. Steps, counted from 1; the final weights are always kept.

    When a run's final policy is proven, only the multiples of `keep_every` stay.
    """

    every: PositiveInt | None = Field(
        default=None, description="null: as seldom as leaves at most ten minutes of training without a checkpoint."
    )
    keep_last: PositiveInt = 1
    keep_every: PositiveInt | None = None


class Lora(ConfigBlock):
    """Low-rank adapters instead of full fine-tuning."""

    rank: PositiveInt
    alpha: PositiveFloat
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class Stopping(ConfigBlock):
    """Runs that are compared are forecast on the way; one that can hardly win is stopped. Off where it is absent.

    Candidates of a comparison differ on the axes of `compare` and agree on all others, so that every seed has its own
    comparison unless `seed` is named. Each is forecast at its own last step, by the rule of
    `tasks.fit.design.dominance`.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    rule: Literal["dominated"]
    chance: Annotated[float, Field(gt=0.0, lt=0.5)] = Field(
        default=0.05, description="Stopped below this chance to end with a lower loss than the favorite."
    )
    every: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=0.1, description="Fraction of a run's steps between forecasts."
    )
    first: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.25, alias="from", description="Fraction of a run's steps at the first forecast."
    )
    compare: tuple[Literal["size", "variant", "seed", "tau", "group_size"], ...] = Field(min_length=1)

    @property
    def marks(self) -> tuple[float, ...]:
        """Fractions of its steps at which a run is forecast, ascending."""
        count = math.ceil((1.0 - self.first) / self.every - 1e-9)
        return tuple(round(self.first + index * self.every, 9) for index in range(count))


class Train(ConfigBlock):
    """GRPO. `batch` and `minibatch` count prompts; each prompt gets `group_size` completions."""

    added: ClassVar[frozenset[str]] = frozenset({"float32_head", "reward", "stopping"})

    engine: Literal["transformers", "vllm"]
    steps: PositiveInt
    batch: PositiveInt
    group_size: PositiveInt
    minibatch: PositiveInt
    precision: Literal["float32", "bfloat16"]
    prompt_style: PromptStyle
    objective: Objective
    optimizer: Optimizer
    sampling: Sampling
    heldout: HeldoutEvaluation
    lora: Lora | None = None
    float32_head: bool = Field(
        default=False, description="The trainer's logits are float32 products, not rounded to bfloat16 first."
    )
    reward: Literal["strict", "lenient"] = Field(
        default="strict",
        description="strict: an answer must stand in its form (a box, as published); lenient: wherever it stands.",
    )
    stopping: Stopping | None = None

    @model_validator(mode="after")
    def _batches_are_possible(self) -> Train:
        if self.group_size < 2:
            raise ValueError("group_size must be at least 2: the advantage is taken within the group")
        if self.batch % self.minibatch:
            raise ValueError(f"minibatch {self.minibatch} must divide batch {self.batch}")
        buffer, longest = self.objective.overlong_buffer, self.sampling.max_completion_tokens
        if buffer is not None and buffer > longest:
            raise ValueError(
                f"objective.overlong_buffer {buffer} is more than sampling.max_completion_tokens {longest}"
            )
        return self
