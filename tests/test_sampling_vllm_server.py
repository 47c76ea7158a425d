"""Evaluation by a running server: seeds, token, retries, clear errors, nothing lost. The server here is a stand-in."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from support import REPOSITORY
from support.studies import numbers, save_random_model, study_to_evaluate, study_to_train
from transformers import AutoModelForCausalLM

from tasks.evaluate.requests import make_requests
from tasks.evaluate.run import EvaluationRequest, missing, run_request
from tasks.policy.policy_model import tensor_checksum, weights_digest
from tasks.records.samples import read_samples
from tasks.runtime.workers import Worker
from tasks.sampling.engines import open_engine
from tasks.sampling.protocol import GenerationBatch, Request, SamplingSettings
from tasks.sampling.vllm.probe import ProbeFailed
from tasks.sampling.vllm.server_client import ServerEngine
from tasks.sampling.vllm.server_http import TOKEN
from tasks.sampling.vllm.staging import StaleWeights
from tasks.sampling.vllm.weight_update import UpdatableServerEngine
from tasks.sampling.vllm.weights import state_dict, stored_tensors
from tasks.study.errors import InputError
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.study.policies import list_policies
from tasks.train.launch import TRAIN_TASK, accelerate_command, launch_environment
from tasks.train.placement import CONFIGS, Placement

SETTINGS = SamplingSettings(n=3, temperature=0.7, top_p=0.9, max_tokens=6, seed=1, seed_domain="evaluate")
REQUESTS = [Request(f"p{i}", (5, 6 + i)) for i in range(9)]
SINGLE = Placement(1, 1, CONFIGS / "cpu.yaml", False, False)
SHARDED = Placement(2, 1, CONFIGS / "fsdp2_one_node.yaml", True, False)

pytestmark = pytest.mark.slow


@dataclass
class Stand:
    """A stand-in server: what it serves, what it has been asked, how it misbehaves."""

    model: str = "policy"
    token: str | None = None
    failures: int = 0
    lives: int = 1 << 30
    torn: bool = False
    deaf: bool = False
    root: Path = Path()
    updates: int = 0
    folder: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""
    metrics: str | None = None

    def answer(self, path: str, body: dict[str, Any], authorization: str | None) -> tuple[int, Any]:
        if self.token is not None and authorization != f"Bearer {self.token}":
            return 401, {"error": {"message": "Unauthorized"}}
        if path == "/v1/models":
            return 200, {"data": [{"id": self.model, "root": "/elsewhere", "max_model_len": 36}]}
        if self.failures > 0:
            self.failures -= 1
            return 503, {"error": {"message": "overloaded"}}
        if path == "/collective_rpc":
            folder, _ = body["args"]
            if not self.deaf:
                self.updates += 1
                self.folder = str(self.root / str(self.updates))
                shutil.copytree(folder, self.folder)
            sums = {name: tensor_checksum(tensor) for name, tensor in stored_tensors(Path(folder))}
            return 200, {"results": [dict(list(sums.items())[1:]) if self.torn else sums]}
        if path == "/reset_prefix_cache":
            return 200, None
        if path != "/v1/completions":
            return 404, {"error": {"message": f"no such path: {path}"}}
        if "prompt_logprobs" in body:
            return 200, {"choices": [{"prompt_logprobs": score(self.folder, body["prompt"])}]}
        if 99 in body["prompt"]:
            return 400, {"error": {"message": "token 99 is out of vocabulary"}}
        self.asked.append(body)
        tokens = [5 + (body["seed"] + index) % 10 for index in range(body["max_tokens"] - 1)] + [0]
        choice = {"token_ids": tokens, "logprobs": {"token_logprobs": [-0.5] * len(tokens)}, "finish_reason": "stop"}
        return 200, {"choices": [choice]}


def score(folder: str, prompt: list[int]) -> list[dict[str, Any] | None]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        logprobs = model(torch.tensor([prompt])).logits[0].log_softmax(-1)
    pairs = zip(logprobs[:-1], prompt[1:], strict=True)
    return [None, *({str(token): {"logprob": row[token].item()}} for row, token in pairs)]


@pytest.fixture
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    state = Stand(root=tmp_path_factory.mktemp("stand"))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply({})

        def do_POST(self) -> None:
            self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _reply(self, body: dict[str, Any]) -> None:
            state.lives -= self.path == "/v1/completions"
            if state.lives < 0:
                self.connection.close()
                return
            if self.path == "/metrics" and state.metrics is not None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(state.metrics.encode())
                return
            status, value = state.answer(self.path, body, self.headers.get("Authorization"))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"" if value is None else json.dumps(value).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()


@pytest.fixture
def study(tmp_path: Path) -> Params:
    return study_to_evaluate(tmp_path)


def test_every_sequence_is_asked_once_with_a_seed_of_its_own_and_answers_keep_their_order(stand: Stand) -> None:
    engine = ServerEngine(stand.url + "/v1/", first_delay=0.01)
    rows = engine.generate(REQUESTS, SETTINGS)
    assert len({body["seed"] for body in stand.asked}) == 27
    seeds = {(tuple(body["prompt"]), body["seed"]) for body in stand.asked}
    assert len(seeds) == 27
    assert [len(row) for row in rows] == [3] * 9
    assert rows == engine.generate(REQUESTS, SETTINGS)
    assert rows[4] == engine.generate([REQUESTS[4]], SETTINGS)[0]


def test_a_request_says_every_field_that_decides_what_is_sampled(stand: Stand, study: Params) -> None:
    run = list_policies(study)[2]
    stand.model = run.name
    engine = ServerEngine(stand.url, first_delay=0.01)
    engine.load(StudyPaths.of(study).final(run.run))
    engine.generate(REQUESTS[:1], SETTINGS)
    body = stand.asked[0]
    neutral = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    asked = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 6, "min_tokens": 0, "n": 1, "stop_token_ids": [0]}
    assert body | neutral | asked | {"ignore_eos": False} == body


@pytest.mark.vllm
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_both_engines_ask_vllm_for_the_same_whatever_the_server_would_fill_in(stand: Stand, temperature: float) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed; `make setup ENGINE=vllm`")
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest

    from tasks.sampling.vllm.requests import SequenceIndex, sampling_params

    settings = replace(SETTINGS, temperature=temperature)
    ServerEngine(stand.url, first_delay=0.01).generate(REQUESTS[:1], replace(settings, n=1))
    of_an_instruct_model = {"top_k": 20, "top_p": 0.8, "temperature": 0.6, "repetition_penalty": 1.1, "min_p": 0.05}
    request = CompletionRequest(**stand.asked[0])
    served = request.to_sampling_params(request.max_tokens, of_an_instruct_model)
    own = sampling_params(GenerationBatch(REQUESTS[:1], settings), SequenceIndex(0, 0, 0), [], counter_based=False)
    how_it_travels = {"detokenize", "flat_logprobs", "skip_clone", "output_kind"}
    for name in own.__struct_fields__:
        if name.removeprefix("_") not in how_it_travels:
            assert getattr(served, name) == getattr(own, name), name


def test_as_many_requests_are_in_flight_as_the_cache_of_the_server_suggests(stand: Stand) -> None:
    engine = ServerEngine(stand.url, first_delay=0.01)
    batches = [GenerationBatch(REQUESTS, SETTINGS)]  # 2 + 6 tokens each
    assert engine._num_in_flight(batches) == 64  # nothing is known
    line = 'vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="%s"} 1.0\n'
    stand.metrics = "# TYPE vllm:cache_config_info gauge\n" + line % 50
    assert engine._num_in_flight(batches) == 4 * 50 * 16 // 8
    stand.metrics = line % 25 + line.replace('engine="0"', 'engine="1"') % 25
    assert engine._num_in_flight(batches) == 4 * 50 * 16 // 8
    stand.metrics = line % 10_000_000
    assert engine._num_in_flight(batches) == 1024
    stand.metrics = line % "None"
    assert engine._num_in_flight(batches) == 64


def test_an_overloaded_server_is_asked_again(stand: Stand) -> None:
    stand.failures = 2
    rows = ServerEngine(stand.url, first_delay=0.01).generate(REQUESTS[:1], SETTINGS)
    assert len(rows[0]) == 3
    assert stand.failures == 0


def test_a_server_that_never_answers_is_a_clear_error() -> None:
    with pytest.raises(InputError, match=r"http://127.0.0.1:9: the server did not answer in 6 attempts \(.*refused"):
        ServerEngine("http://127.0.0.1:9", first_delay=0.001)


def test_something_that_is_no_url_is_refused() -> None:
    with pytest.raises(InputError, match="is not an http:// or https:// URL"):
        ServerEngine("localhost:8000")


def test_the_token_comes_from_the_environment_and_a_wrong_one_is_refused(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.token = "secret"
    monkeypatch.setenv(TOKEN, "guess")
    with pytest.raises(InputError, match=f"did not take the token in {TOKEN}"):
        ServerEngine(stand.url)
    monkeypatch.setenv(TOKEN, "secret")
    assert ServerEngine(stand.url).generate(REQUESTS[:1], SETTINGS)


def test_a_refused_prompt_is_named(stand: Stand) -> None:
    engine = ServerEngine(stand.url)
    with pytest.raises(InputError, match=r"problem odd: .*HTTP 400: token 99 is out of vocabulary"):
        engine.generate([REQUESTS[0], Request("odd", (99,))], SETTINGS)
    with pytest.raises(InputError, match="problem long: 40 prompt tokens"):
        engine.generate([Request("long", (5,) * 40)], SETTINGS)


def test_a_server_that_serves_another_policy_is_refused(stand: Stand, study: Params) -> None:
    run = list_policies(study)[2]
    order = EvaluationRequest(study, (run,), ("heldout",), server=stand.url)
    with pytest.raises(InputError, match=f"serves 'policy', not {run.name}; start it with `python -m vllm"):
        run_request(order)


def test_an_evaluation_by_a_server_that_dies_keeps_what_is_finished_and_continues(
    stand: Stand, study: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.sampling.vllm.server_http.FIRST_DELAY", 0.001)
    run = list_policies(study)[2]
    stand.model = run.name
    (first,) = make_requests(study, run.name, benchmarks=["heldout"], server=stand.url)
    (both,) = make_requests(study, run.name, server=stand.url)
    assert run_request(first) == 1
    stand.lives = 5
    with pytest.raises(InputError, match="did not answer in 6 attempts"):
        run_request(both)
    assert missing(study, run, ["heldout", "hard"], both.root) == ["hard"]
    stand.lives = 1 << 30
    assert run_request(both) == 1
    rows = read_samples(StudyPaths.of(study).samples(run, "hard", both.root))
    assert len(rows) == 18
    assert missing(study, run, ["heldout", "hard"]) == ["heldout", "hard"]


def test_new_weights_reach_a_server_of_our_own_through_a_shared_folder(
    stand: Stand, study: Params, tmp_path: Path
) -> None:
    for seed in (0, 1):
        save_random_model(study, "3k", seed, tmp_path / str(seed))
    server = study.hardware.vllm.model_copy(update={"mode": "server", "server": stand.url})
    hardware = study.hardware.model_copy(update={"vllm": server})
    engine = open_engine("vllm", tmp_path / "0", hardware)
    weights = state_dict(tmp_path / "1", torch.float32)
    assert engine.fingerprint() == weights_digest(state_dict(tmp_path / "0", torch.float32))
    assert engine.load(tmp_path / "1") == weights_digest(weights)
    assert isinstance(engine, UpdatableServerEngine)
    stand.deaf = True
    with pytest.raises(ProbeFailed, match="log-probs differ by"):
        engine.load(tmp_path / "0")
    stand.torn = True
    with pytest.raises(StaleWeights, match="read other weights than they were given"):
        engine.update(weights.items())
    engine.close()


def test_server_mode_without_a_url_is_refused(study: Params, tmp_path: Path) -> None:
    server = study.hardware.vllm.model_copy(update={"mode": "server"})
    hardware = study.hardware.model_copy(update={"vllm": server})
    with pytest.raises(InputError, match=r"hardware.vllm.mode is server, but hardware.vllm.server gives no URL"):
        open_engine("vllm", tmp_path, hardware)


def test_two_processes_train_with_one_server_which_gets_each_weights_once(stand: Stand, tmp_path: Path) -> None:
    """The whole loop over a server; with two processes nobody waits for one that does not come."""
    rows = {}
    for name, placement in {"one": SINGLE, "two": SHARDED}.items():
        hardware = {"vllm": {"mode": "server", "server": stand.url}, "collective_timeout_seconds": 60.0}
        params, run = study_to_train(tmp_path / name, train={"engine": "vllm", "steps": 2}, hardware=hardware)
        environment = launch_environment(params.hardware, placement) | {"PYTHONPATH": str(REPOSITORY)}
        command = accelerate_command(params.hardware, placement)
        worker = Worker(command, environment, tmp_path / "log", placement.num_processes)
        before = stand.updates
        try:
            worker.run(TRAIN_TASK, {"params": params.model_dump_json(), "run": asdict(run), "fingerprint": "mark"})
        finally:
            worker.end()
        assert stand.updates - before == 3  # the initial weights, and those after each step
        rows[name] = numbers(params, run)
    assert [row["step"] for row in rows["two"]] == [0, 1, 2]
    for one, two in zip(rows["one"], rows["two"], strict=True):
        assert one["test_right"] == two["test_right"]
        assert one["completion_tokens"] == two["completion_tokens"]
        assert one["reward_mean"] == two["reward_mean"]
