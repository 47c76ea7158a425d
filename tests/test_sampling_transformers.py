"""The transformers engine: exact, seeded, independent of the batch."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.families import FAMILIES, random_model
from support.studies import study_to_train
from transformers import AutoModelForCausalLM

from tasks.policy.packing import PromptGroup, pack
from tasks.policy.policy_model import Policy, load_model
from tasks.sampling.protocol import Completion, Request, SamplingSettings
from tasks.sampling.seeds import sequence_key, uniforms
from tasks.sampling.transformers_engine import TransformersEngine, inverse_cdf
from tasks.study.errors import InputError
from tasks.study.paths import StudyPaths

GREEDY_AND_DRAWN = (0.0, 1.0)
SETTINGS = SamplingSettings(n=4, temperature=1.0, top_p=1.0, max_tokens=10, seed=3, step=2)
PROMPTS = [Request(f"p{index}", tuple(range(5, 6 + index))) for index in range(7)]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> TransformersEngine:
    params, run = study_to_train(tmp_path_factory.mktemp("engine"))
    return TransformersEngine(StudyPaths.of(params).model(run.model))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    params, run = study_to_train(tmp_path_factory.mktemp("checkpoint"))
    return StudyPaths.of(params).model(run.model)


def test_completions_do_not_depend_on_what_else_is_in_the_batch(engine: TransformersEngine) -> None:
    together = engine.generate(PROMPTS, SETTINGS)
    reversed_order = engine.generate(PROMPTS[::-1], SETTINGS)[::-1]
    alone = [engine.generate([request], SETTINGS)[0] for request in PROMPTS]
    engine.batch = 5
    small = engine.generate(PROMPTS, SETTINGS)
    engine.batch = 1024
    for other in (reversed_order, alone, small):
        assert [[c.tokens for c in row] for row in other] == [[c.tokens for c in row] for row in together]


def test_looking_less_often_for_the_finished_changes_nothing(checkpoint: Path) -> None:
    engine = TransformersEngine(checkpoint)
    drawn = []
    for every in (1, 5):
        engine.sync_every = every
        drawn.append([one for row in engine.generate(PROMPTS, replace(SETTINGS, n=6)) for one in row])
    assert len({len(completion.tokens) for completion in drawn[0]}) > 1
    for often, seldom in zip(*drawn, strict=True):
        assert (often.tokens, often.finish_reason) == (seldom.tokens, seldom.finish_reason)
        assert often.logprobs == pytest.approx(seldom.logprobs, abs=1e-5)  # other batch shapes round otherwise


def test_samples_of_one_prompt_differ_and_a_seed_or_step_changes_them(engine: TransformersEngine) -> None:
    warm = replace(SETTINGS, n=8, temperature=2.0)
    drawn = engine.generate(PROMPTS, warm)
    assert all(len({c.tokens for c in row}) > 1 for row in drawn)
    for change in ({"seed": 4}, {"step": 3}, {"seed_domain": "heldout"}):
        other = engine.generate(PROMPTS, replace(warm, **change))
        assert [[c.tokens for c in row] for row in other] != [[c.tokens for c in row] for row in drawn]


def test_reported_log_probs_are_the_trainers_own(checkpoint: Path) -> None:
    engine, policy = TransformersEngine(checkpoint), Policy(load_model(checkpoint, "float32"))
    drawn = engine.generate(PROMPTS, replace(SETTINGS, temperature=0.7, top_p=0.9))
    groups = [
        PromptGroup(request.tokens, tuple(c.tokens for c in row)) for request, row in zip(PROMPTS, drawn, strict=True)
    ]
    reported = torch.tensor([value for row in drawn for c in row for value in c.logprobs])
    with torch.no_grad():
        torch.testing.assert_close(policy(pack(groups)), reported, atol=2e-5, rtol=1e-4)


def test_greedy_decoding_equals_generate(checkpoint: Path) -> None:
    engine = TransformersEngine(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    for request in PROMPTS:
        mine = engine.generate([request], replace(SETTINGS, n=1, temperature=0.0))[0][0].tokens
        ids = torch.tensor([request.tokens])
        theirs = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=10, do_sample=False)
        assert list(mine) == theirs[0, ids.shape[1] :].tolist()


def test_first_tokens_follow_the_models_distribution(checkpoint: Path) -> None:
    engine = TransformersEngine(checkpoint)
    request, trials = PROMPTS[2], 4000
    drawn = engine.generate([request], replace(SETTINGS, n=trials, max_tokens=1))[0]
    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
        probs = model(torch.tensor([request.tokens])).logits[0, -1].softmax(-1)
    seen = Counter(c.tokens[0] for c in drawn)
    for token, p in enumerate(probs.tolist()):
        spread = (trials * p * (1 - p)) ** 0.5
        assert abs(seen[token] - trials * p) <= 5 * spread + 1


def test_a_nucleus_keeps_only_the_most_likely_tokens(checkpoint: Path) -> None:
    engine = TransformersEngine(checkpoint)
    drawn = engine.generate([PROMPTS[2]], replace(SETTINGS, n=500, max_tokens=1, top_p=0.05))[0]
    greedy = engine.generate([PROMPTS[2]], replace(SETTINGS, n=1, max_tokens=1, temperature=0.0))[0][0]
    assert {c.tokens for c in drawn} == {greedy.tokens}


def test_a_finished_completion_ends_with_the_stop_token_and_a_cut_one_has_full_length(
    engine: TransformersEngine,
) -> None:
    for completion in (c for row in engine.generate(PROMPTS, replace(SETTINGS, n=32)) for c in row):
        if completion.finish_reason == "stop":
            assert completion.tokens[-1] in engine.stops
            assert not engine.stops & set(completion.tokens[:-1])
        else:
            assert len(completion.tokens) == SETTINGS.max_tokens
        assert len(completion.logprobs) == len(completion.tokens)


def test_a_prompt_beyond_the_context_is_refused_by_name(engine: TransformersEngine) -> None:
    with pytest.raises(InputError, match="problem far-too-long"):
        engine.generate([Request("far-too-long", (5,) * 1000)], SETTINGS)


def test_an_update_that_lacks_a_tensor_fails(checkpoint: Path) -> None:
    engine = TransformersEngine(checkpoint)
    weights = dict(load_model(checkpoint, "float32").state_dict())
    del weights["model.norm.weight"]
    with pytest.raises((RuntimeError, KeyError)):
        engine.update(weights.items())


@given(st.integers(0, 2**31), st.integers(0, 1000), st.text(max_size=20), st.integers(0, 64))
def test_equal_coordinates_give_equal_keys_and_a_neighbour_another(
    seed: int, step: int, name: str, sample: int
) -> None:
    settings = SamplingSettings(1, 1.0, 1.0, 1, seed, step)
    key = sequence_key(settings, name, sample)
    assert key == sequence_key(settings, name, sample)
    assert key != sequence_key(settings, name, sample + 1)
    assert key != sequence_key(replace(settings, step=step + 1), name, sample)


def test_uniforms_are_uniform_over_sequences_and_over_positions() -> None:
    keys = torch.tensor([sequence_key(SETTINGS, "p", sample) for sample in range(2000)])
    for values in (uniforms(keys, 0), torch.stack([uniforms(keys[:1], t)[0] for t in range(2000)])):
        assert float(values.min()) >= 0.0
        assert float(values.max()) < 1.0
        counts = torch.histc(values.float(), bins=20, min=0, max=1)
        assert float(((counts - 100) ** 2 / 100).sum()) < 45  # chi-square with 19 degrees, p about 0.001


def without_cache(model: Any, request: Request, settings: SamplingSettings, stops: frozenset[int]) -> list[Completion]:
    """What the engine must draw: every token from a whole forward pass over its sequence alone."""
    out = []
    for sample in range(settings.n):
        key = torch.tensor([sequence_key(settings, request.prompt_id, sample)])
        tokens, logprobs = list(request.tokens), []
        for position in range(settings.max_tokens):
            with torch.no_grad():
                logits = model(torch.tensor([tokens])).logits[:, -1].float()
            drawn = inverse_cdf(logits, settings.temperature or 1.0, settings.top_p, uniforms(key, position))
            token = int(logits.argmax() if settings.temperature == 0.0 else drawn)
            tokens.append(token)
            logprobs.append(float(logits.log_softmax(-1)[0, token]))
            if token in stops:
                break
        new = tuple(tokens[len(request.tokens) :])
        out.append(Completion(new, tuple(logprobs), "stop" if new[-1] in stops else "length"))
    return out


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_sampled_as_its_plain_model_says(tmp_path: Path, family: str, tied: bool) -> None:
    model = random_model(family, tie_word_embeddings=tied)
    model.generation_config.eos_token_id = [2, 40]
    model.save_pretrained(tmp_path)
    engine = TransformersEngine(tmp_path)
    assert engine.stops == {2, 40}
    for temperature in GREEDY_AND_DRAWN:
        settings = replace(SETTINGS, n=3, temperature=temperature, top_p=0.9 if temperature else 1.0)
        drawn = engine.generate(PROMPTS, settings)
        for request, row in zip(PROMPTS, drawn, strict=True):
            expected = without_cache(model, request, settings, engine.stops)
            assert [(c.tokens, c.finish_reason) for c in row] == [(c.tokens, c.finish_reason) for c in expected]
            for found, plain in zip(row, expected, strict=True):
                assert found.logprobs == pytest.approx(plain.logprobs, abs=1e-4)


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_new_weights_are_used_and_change_the_fingerprint(tmp_path: Path, tied: bool) -> None:
    first = random_model("Llama", tie_word_embeddings=tied)
    first.save_pretrained(tmp_path)
    engine = TransformersEngine(tmp_path)
    before = engine.fingerprint()
    second = random_model("Llama", tie_word_embeddings=tied)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.mul_(-0.7)
    weights = {name: value for name, value in second.state_dict().items() if not (tied and name == "lm_head.weight")}
    assert engine.update(weights.items()) != before
    settings = replace(SETTINGS, n=1, temperature=0.0)
    drawn = engine.generate(PROMPTS, settings)
    expected = [without_cache(second.eval(), request, settings, engine.stops) for request in PROMPTS]
    assert [[c.tokens for c in row] for row in drawn] == [[c.tokens for c in row] for row in expected]
    with pytest.raises(RuntimeError, match="do not fit the model"):
        engine.update([("model.norm.weight", torch.ones(32))])


def test_a_completion_never_leaves_a_window_of_attention(tmp_path: Path) -> None:
    random_model("Mistral", sliding_window=12).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"problem long: 5 prompt tokens and 10 completion tokens do not fit .* 12"):
        TransformersEngine(tmp_path).generate([Request("long", (5, 6, 7, 8, 9))], SETTINGS)
