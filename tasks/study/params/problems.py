"""The `prepare` block: sources of problems, benchmarks, cleaning, splits."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from tasks.study.params.block import ConfigBlock, Fraction, Name


class ArithmeticSource(ConfigBlock):
    """Generated problems in graded levels: level l draws +, - and * with operands growing in digits."""

    kind: Literal["arithmetic"]
    levels: PositiveInt = Field(le=8)
    digit_accuracy: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        description="Difficulty is measured as the pass rate p^ops of a solver that gets each of the `ops` elementary "
        "digit operations of the schoolbook method right with probability p."
    )


class FileSource(ConfigBlock):
    """A local parquet or JSONL file, in the published row layout or as plain problem, answer[, pass_rate]."""

    kind: Literal["file"]
    path: str
    heldout_path: str | None = Field(
        default=None, description="A held-out set of its own; without it one is split off."
    )
    pass_rate_column: str = Field(
        default="qwen2.5_7b_pass_rate", description="Where difficulty stands: a column, or a key of extra_info."
    )


class HubSource(ConfigBlock):
    """A hub data set at a pinned revision."""

    kind: Literal["hub"]
    repository: str
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = Field(
        description="Commit of the data set. null: must be given before the stage will download anything."
    )
    train_file: str
    heldout_file: str | None = None
    pass_rate_column: str = Field(
        default="qwen2.5_7b_pass_rate", description="Where difficulty stands: a column, or a key of extra_info."
    )


class Benchmark(ConfigBlock):
    """An evaluation set besides the held-out one, and how it is sampled (`samples` completions per problem)."""

    name: Name
    source: Literal["arithmetic", "file", "hub"]
    path: str | None = Field(default=None, description="File of the set: local, or inside the hub repository.")
    repository: str | None = Field(default=None, description="Hub data set (hub only); null: that of the source.")
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = Field(
        default=None, description="Commit of that data set; null: as the source, where the repository is the same."
    )
    origin: str | None = Field(default=None, description="Where a local file can be had; said when it is missing.")
    problems: PositiveInt | None = Field(default=None, description="How many to generate (arithmetic only).")
    level: PositiveInt | None = Field(
        default=None, description="Level to generate (arithmetic only); may exceed training's."
    )
    samples: PositiveInt = 1
    temperature: PositiveFloat | None = Field(default=None, description="null: as `evaluate.temperature`.")
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        default=None, description="null: as `evaluate.top_p`."
    )
    max_completion_tokens: PositiveInt | None = Field(default=None, description="null: as `train.sampling`.")


class Cleaning(ConfigBlock):
    """Which cleaning rules run on a real problem set; the generator's problems pass through them too."""

    repair_backslashes: bool = True
    near_duplicate_similarity: Annotated[float, Field(gt=0.5, le=1.0)] = Field(
        default=0.9,
        description="Jaccard similarity of 5-byte pieces of the normalised text from which two training problems with "
        "the same numbers or the same answer are one; 1: equal normalised texts only.",
    )
    decontaminate_similarity: Annotated[float, Field(gt=0.5, le=1.0)] | None = Field(
        default=None,
        description="The same between a training and an evaluation problem, whatever their numbers; null: as above.",
    )
    decontaminate_ngram: PositiveInt = Field(
        default=13, description="A shared run of so many words marks an overlap, boilerplate left aside."
    )

    @property
    def overlap_similarity(self) -> float:
        """`decontaminate_similarity` with its default filled in."""
        return self.decontaminate_similarity or self.near_duplicate_similarity


class Prepare(ConfigBlock):
    """Problems: source, cleaning, difficulty, splits."""

    seed: int
    source: Annotated[ArithmeticSource | FileSource | HubSource, Field(discriminator="kind")]
    instruction: str = Field(
        description="Put before each problem unless the problem already carries one; may be empty."
    )
    suffix: str = Field(description="Put after each problem unless it already asks for a box; may be empty.")
    heldout: PositiveInt = Field(description="Held-out problems, half easy and half hard.")
    easy_threshold: Fraction = Field(description="Easy means pass rate >= this.")
    cleaning: Cleaning = Cleaning()
    tokenizer: str | None = Field(
        default=None,
        description="Tokenizer that measures prompts against train.sampling.max_prompt_tokens: a local folder or a hub "
        "model. null: lengths are not checked here (sampling still refuses a prompt that is too long).",
    )
    tokenizer_revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")] | None = None
    pass_rates: str | None = Field(
        default=None,
        description="File of pass rates measured by `rlscale prepare --measure-pass-rate`, for problems without one.",
    )
    benchmarks: tuple[Benchmark, ...] = ()
