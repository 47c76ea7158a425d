"""The model family: the miniature's tokenizer, corpus and checkpoints, and resolved hub checkpoints."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from support import REPOSITORY
from support.studies import make_train_params
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks.costs.flops import Architecture
from tasks.policy.policy_model import count_parameters
from tasks.prepare.prepare import prepare
from tasks.pretrain.corpus import batches, excluded_keys, wrong_answer
from tasks.pretrain.hub_models import resolve_hub_model
from tasks.pretrain.steps import collect
from tasks.pretrain.tiny import build_tokenizer, train_tiny_model
from tasks.records.models import read_models
from tasks.records.problems import read_problems
from tasks.study.errors import InputError
from tasks.study.params import HubFamily, HubModel, Params, TinyFamily, load_params
from tasks.study.paths import StudyPaths
from tasks.study.status import model_names

TEXT = st.text(alphabet="0123456789+-*=", max_size=20)

pytestmark = pytest.mark.slow


@settings(deadline=None)
@given(prompt=TEXT, answer=TEXT)
def test_text_survives_the_tokenizer_with_one_token_per_sign(prompt: str, answer: str) -> None:
    tokenizer = build_tokenizer()
    text = f"{prompt}\\boxed{{{answer}}}"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text
    assert len(ids) == len(prompt) + len(answer) + 2
    assert tokenizer.unk_token_id not in ids


def test_the_chat_template_marks_roles_and_ends_answers() -> None:
    tokenizer = build_tokenizer()
    chat = [{"role": "user", "content": "1+2="}, {"role": "assistant", "content": "\\boxed{3}"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "<|user|>1+2=<|assistant|>\\boxed{3}<|endoftext|>"
    asked = tokenizer.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
    assert asked == "<|user|>1+2=<|assistant|>"


@given(st.integers(0, 10**6), st.integers(0, 100))
def test_a_wrong_answer_is_a_near_miss(value: int, seed: int) -> None:
    found = int(wrong_answer(str(value), np.random.default_rng(seed)))
    assert found >= 0
    assert abs(found - value) in ({1, 10} if value > 9 else {1})


def test_the_miniature_spans_two_orders_of_magnitude() -> None:
    family = load_params(REPOSITORY / "params.yaml").pretrain.family
    assert isinstance(family, TinyFamily)
    sizes = [
        Architecture(m.hidden, m.layers, m.heads, m.kv_heads, m.hidden // m.heads, m.ffn, 21).n_params
        for m in family.models
    ]
    assert len(sizes) == 7
    assert sizes == sorted(sizes)
    assert sizes[-1] / sizes[0] >= 100


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Params:
    """A family of one size, base and instruct, trained for a few steps through the real stage."""
    root = tmp_path_factory.mktemp("family")
    grid = {"sizes": ["3k"], "variants": ["base", "instruct"], "seeds": [0], "reuse": None, "group_size": None}
    params = make_train_params(root, grid=grid, train={"steps": 6}, prepare={"heldout": 20})
    prepare(params)
    for name in ("3k-base", "3k-instruct"):
        train_tiny_model(params, name)
    collect(params)
    return params


def test_checkpoints_are_ordinary_transformers_folders_with_exact_counts(family: Params) -> None:
    records = read_models(StudyPaths.of(family).stage("pretrain"))
    assert sorted(records) == ["3k-base", "3k-instruct"]
    for record in records.values():
        folder = StudyPaths.of(family).stage("pretrain") / record.path
        model = AutoModelForCausalLM.from_pretrained(folder)
        assert model.config.model_type == "qwen2"
        assert count_parameters(model) == (record.total, record.n_params)
        assert AutoTokenizer.from_pretrained(folder).encode("7*8=") == build_tokenizer().encode("7*8=")
    assert len({record.digest for record in records.values()}) == 2


def test_a_finished_checkpoint_is_not_trained_again(family: Params) -> None:
    weights = StudyPaths.of(family).model("3k-base") / "model.safetensors"
    before = weights.stat().st_mtime_ns
    train_tiny_model(family, "3k-base")
    assert weights.stat().st_mtime_ns == before


def test_every_seed_has_weights_of_its_own_and_an_instruct_made_from_them(family: Params, tmp_path: Path) -> None:
    tiny = family.pretrain.family
    assert isinstance(tiny, TinyFamily)
    per_run = tiny.model_copy(update={"seeds": "per_run"})
    params = family.model_copy(
        update={
            "study": family.study.model_copy(update={"data_root": str(tmp_path / "data")}),
            "grid": family.grid.model_copy(update={"seeds": (0, 1)}),
            "pretrain": family.pretrain.model_copy(update={"family": per_run}),
        }
    )
    shutil.copytree(StudyPaths.of(family).stage("prepare"), StudyPaths.of(params).stage("prepare"))
    names = model_names(params)
    assert names == ["3k-base-s0", "3k-base-s1", "3k-instruct-s0", "3k-instruct-s1"]
    for name in names:
        train_tiny_model(params, name)
    collect(params)
    weights = {
        name: load_file(StudyPaths.of(params).model(name) / "model.safetensors")["model.embed_tokens.weight"]
        for name in read_models(StudyPaths.of(params).stage("pretrain"))
    }
    assert list(weights) == names

    def apart(one: str, other: str) -> float:
        return float((weights[one] - weights[other]).norm())

    for seed in (0, 1):
        assert apart(f"3k-instruct-s{seed}", f"3k-base-s{seed}") < 0.2 * apart("3k-base-s0", "3k-base-s1")


def test_the_corpus_never_holds_an_evaluation_problem_and_is_the_same_twice(family: Params) -> None:
    layout, tokenizer = StudyPaths.of(family), build_tokenizer()
    tiny = family.pretrain.family
    assert isinstance(tiny, TinyFamily)
    barred = excluded_keys([layout.heldout])
    recipe = tiny.base.model_copy(update={"steps": 40})
    streams = [list(batches(recipe, range(1, 6), 3, barred, tokenizer, "plain")) for _ in range(2)]
    assert streams[0] == streams[1]
    held = {problem.messages[-1][1] for problem in read_problems(layout.heldout)}
    shown = [tokenizer.decode(list(group.prompt)) for batch in streams[0] for group in batch]
    assert len(shown) == 40 * recipe.batch
    assert not held & set(shown)


def test_the_share_of_wrong_answers_is_none_in_the_clean_part_and_as_asked_after_it(family: Params) -> None:
    tiny, tokenizer = family.pretrain.family, build_tokenizer()
    assert isinstance(tiny, TinyFamily)
    recipe = tiny.base.model_copy(update={"steps": 40, "batch": 64, "wrong_answers": 0.5, "clean_share": 0.5})
    wrong = []
    for batch in batches(recipe, range(1, 6), 3, frozenset(), tokenizer, "plain"):
        pairs = [(tokenizer.decode(list(g.prompt))[:-1], tokenizer.decode(list(g.completions[0]))) for g in batch]
        wrong.append([f"\\boxed{{{eval(text)}}}<|endoftext|>" != answer for text, answer in pairs])
    assert not any(itertools.chain(*wrong[:20]))
    assert np.mean(wrong[20:]) == pytest.approx(0.5, abs=0.05)


def _hub(tmp_path: Path, base: str, revision: str | None) -> Params:
    params = make_train_params(tmp_path / "hub")
    model = HubModel(
        name="3k", nominal=5e8, base=base, base_revision=revision, instruct=base, instruct_revision=revision
    )
    pretrain = params.pretrain.model_copy(update={"family": HubFamily(kind="hub", models=(model,))})
    return params.model_copy(update={"pretrain": pretrain})


def test_a_local_snapshot_is_resolved_in_place_with_exact_counts(family: Params, tmp_path: Path) -> None:
    snapshot = StudyPaths.of(family).model("3k-base")
    manifest = resolve_hub_model(_hub(tmp_path, str(snapshot), None), "3k-base")
    assert manifest["path"] == str(snapshot.resolve())
    assert (manifest["total"], manifest["n_params"]) == count_parameters(AutoModelForCausalLM.from_pretrained(snapshot))
    assert manifest["nominal"] == 5e8


def test_a_repository_without_a_pinned_revision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pinned revision"):
        resolve_hub_model(_hub(tmp_path, "some/repository", None), "3k-base")


def test_a_snapshot_that_cannot_be_fetched_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match=r"cannot be fetched.*local folder"):
        resolve_hub_model(_hub(tmp_path, "some/repository", "0" * 40), "3k-base")


def test_a_damaged_family_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"stage": "pretrain"}))
    with pytest.raises(InputError, match="run `rlscale pretrain` first"):
        read_models(tmp_path)
