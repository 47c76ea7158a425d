"""The miniature family: real Qwen2 models of a few thousand parameters, trained here from random weights.

base      arithmetic text whose answers are deliberately wrong at a set rate: the model knows more than it samples,
          which reinforcement learning can then raise.
instruct  base, then a short supervised stage on right answers in chat format.

The loss is the mean negative log-likelihood of the answer's tokens; the operands, which nothing predicts, are left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from tasks.policy.packing import PromptGroup, pack
from tasks.policy.policy_model import Policy, count_parameters, load_model
from tasks.pretrain.corpus import batches, excluded_keys
from tasks.study.fingerprints import model_fingerprint
from tasks.study.grid import ModelName, model_spec
from tasks.study.manifests import MANIFEST, once
from tasks.study.params import Params, SupervisedStage, TinyFamily, TinyModel
from tasks.study.paths import StudyPaths

ROPE_THETA = 100.0
"""Base of the rotary angles: on contexts of a few dozen tokens the usual 10,000 hardly turns most pairs."""

REFERENCE_WIDTH = 64
"""Width at which `learning_rate` applies as written; others get learning_rate x 64 / width."""


def train_tiny_model(params: Params, name: str) -> dict[str, Any]:
    """Trains a model of the family unless its folder proves it done; returns the manifest.

    The instruct variant starts from the base of its size and seed, which must be finished.
    """
    family = params.pretrain.family
    spec, _ = model_spec(params, name)
    assert isinstance(family, TinyFamily)
    assert isinstance(spec, TinyModel)
    folder = StudyPaths.of(params).model(name)

    def body() -> tuple[list[str], dict[str, Any]]:
        return _train(params, family, spec, name, folder)

    return once(folder, "pretrain", model_fingerprint(params, name), body)[0]


def _train(
    params: Params, family: TinyFamily, spec: TinyModel, name: str, folder: Path
) -> tuple[list[str], dict[str, Any]]:
    paths, tokenizer = StudyPaths.of(params), build_tokenizer()
    parsed = ModelName.parse(name)
    variant, model_seed = parsed.variant, family_seed(family, parsed.seed)
    style = getattr(params.train.prompt_style, variant)
    model: PreTrainedModel
    if variant == "base":
        model = new_model(spec, model_seed, params, len(tokenizer))
    else:
        model = load_model(paths.model(parsed.base), "float32")
    source = params.prepare.source
    levels = range(1, (source.levels if source.kind == "arithmetic" else 5) + 1)
    sets = [paths.heldout, *(paths.benchmark(b.name) for b in params.prepare.benchmarks if b.source == "arithmetic")]
    seed = model_seed * 2 + (variant == "instruct")
    recipe = family.base if variant == "base" else family.instruct
    stream = batches(recipe, levels, seed, excluded_keys(sets), tokenizer, style)
    rate = recipe.learning_rate * REFERENCE_WIDTH / spec.hidden
    losses = train_supervised(Policy(model), recipe, rate, stream)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    total, n_params = count_parameters(model)
    tail = losses[-max(1, len(losses) // 20) :]
    facts = {"name": name, "size": spec.name, "variant": variant, "nominal": n_params}
    facts |= {"total": total, "n_params": n_params, "final_loss": round(sum(tail) / len(tail), 6)}
    names = sorted(path.name for path in folder.iterdir() if path.suffix in {".json", ".safetensors", ".jinja"})
    return [name for name in names if name != MANIFEST], facts


def family_seed(family: TinyFamily, run_seed: int | None) -> int:
    """Seed of an initial model's weights and text: the family's, or one for each seed of the runs."""
    return family.seed if run_seed is None else family.seed * 1000 + run_seed


def new_model(spec: TinyModel, seed: int, params: Params, vocab_size: int) -> Qwen2ForCausalLM:
    """Builds a model with random weights from a seed."""
    lengths = params.train.sampling
    config = Qwen2Config(
        vocab_size=vocab_size,
        hidden_size=spec.hidden,
        intermediate_size=spec.ffn,
        num_hidden_layers=spec.layers,
        num_attention_heads=spec.heads,
        num_key_value_heads=spec.kv_heads,
        max_position_embeddings=lengths.max_prompt_tokens + lengths.max_completion_tokens,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        initializer_range=1.0 / math.sqrt(spec.hidden) / 2,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
    model.generation_config = GenerationConfig(eos_token_id=0, pad_token_id=0, do_sample=True)
    return model


def train_supervised(
    policy: Policy, recipe: SupervisedStage, rate: float, stream: Iterable[list[PromptGroup]]
) -> list[float]:
    """Trains on a stream of batches; returns the loss of each step.

    AdamW (betas 0.9, 0.98, weight decay 0.01), 5 % linear warm-up to `rate`, cosine decay to a tenth of it, gradient
    norm clipped to 1.
    """
    optimizer = torch.optim.AdamW(policy.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    warmup_steps = max(1, recipe.steps // 20)
    losses = []
    for step, groups in enumerate(stream):
        decay = 0.55 + 0.45 * math.cos(math.pi * step / recipe.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / warmup_steps) * decay
        loss = -policy(pack(groups)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def train_tiny_job(params: str, name: str) -> dict[str, Any]:
    """`train_tiny_model` as a worker's job: params as JSON text."""
    torch.use_deterministic_algorithms(True)
    return json.loads(json.dumps(train_tiny_model(Params.model_validate_json(params), name)))


END = "<|endoftext|>"
UNKNOWN = "<|unknown|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
PIECES = (*"0123456789+-*=", "\\boxed{", "}")

TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|endoftext|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Returns the tokenizer: 21 tokens; a chat is `<|user|>12+34=<|assistant|>\\boxed{46}<|endoftext|>`."""
    names = (END, UNKNOWN, *ROLES, *PIECES)
    core = Tokenizer(models.WordLevel({name: index for index, name in enumerate(names)}, unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"\\boxed\{|[\s\S]"), behavior="isolated")
    core.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token=END,
        pad_token=END,
        unk_token=UNKNOWN,
        additional_special_tokens=list(ROLES),
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )
