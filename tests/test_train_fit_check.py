"""An update on fake tensors: memory against the estimate, collectives against what sharding needs, and the command.

Nothing here needs a device. The measurement is the project's own code, so a gather that somebody adds shows here as
bytes, and memory that the estimate forgets as a ratio below one. `benchmarks/memory_fit.py` does all sizes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import REPOSITORY

from tasks.costs.model_shape import ModelShape, published_configs

pytestmark = pytest.mark.slow

CASES = {
    "wide": ("Qwen/Qwen2.5-72B", 2, 32, True),
    "kept": ("Qwen/Qwen2.5-7B", 3, 4, False),
    "tied": ("Qwen/Qwen2.5-0.5B", 3, 4, True),
}
"""Repository, layers that are left of it, devices, recomputed."""

MEASURE = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from tasks.costs.memory import Devices, estimate
from tasks.costs.model_shape import ModelShape
from tasks.study.params import load_params
from tasks.train.fake_update import measure_update
params, found = load_params(Path(sys.argv[1])), {}
for name, (config, count, recomputed) in json.loads(sys.argv[2]).items():
    chosen = {"token_budget": 6144, "gradient_checkpointing": recomputed}
    hardware = params.hardware.of_size("72B").model_copy(update=chosen)
    devices = Devices(count, min(count, 8), True, 1e11)
    expected = estimate(params, hardware, ModelShape.from_config(config), devices)
    measured = measure_update(params, hardware, config, devices)
    parts = {"estimated": expected.trainer, "held": sum(expected.resident.values())}
    found[name] = asdict(measured) | parts | {"asleep": expected.resident["sleeping engine"]}
print(json.dumps(found))
"""


def config_of(case: str) -> dict[str, object]:
    repository, layers, _, _ = CASES[case]
    return published_configs()[repository] | {"num_hidden_layers": layers}


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, float]]:
    """All cases, in a process without a process group of its own."""
    cases = {name: (config_of(name), count, recomputed) for name, (_, _, count, recomputed) in CASES.items()}
    command = [sys.executable, "-c", MEASURE, str(REPOSITORY / "params.paper.yaml"), json.dumps(cases)]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    found: dict[str, dict[str, float]] = json.loads(answer.stdout)
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_estimate_is_never_below_the_peak_and_not_far_above(measured: dict, case: str) -> None:
    found = measured[case]
    assert found["rows"] == 6143
    assert found["resident"] == pytest.approx(found["held"] - found["asleep"], rel=2e-3)
    assert 1.0 <= found["estimated"] / found["peak"] <= 1.2


@pytest.mark.parametrize("case", CASES)
def test_a_micro_batch_gathers_each_layer_four_times_and_reduces_its_gradients_once(measured: dict, case: str) -> None:
    """Old and reference pass, forward and backward. The root, output layer included, stays whole between passes: it is
    gathered once for the policy and once for the reference; an embedding of its own four times, as a layer."""
    found, shape = measured[case], ModelShape.from_config(config_of(case))
    layers = shape.architecture.num_hidden_layers
    own_embedding = 0 if shape.tied else 1
    assert found["calls"] == {"gather": 4 * (layers + own_embedding) + 2, "reduce": layers + own_embedding + 1}
    inner = shape.layer * layers + own_embedding * shape.embedding
    assert found["moved"]["gather"] == pytest.approx(2 * (4 * inner + 2 * shape.embedding), rel=1e-4)
    assert found["moved"]["reduce"] == pytest.approx(4 * shape.total, rel=1e-4)


def run_fit_check(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("rlscale")), "train", "--fit-check", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def test_the_command_says_whether_a_size_fits() -> None:
    answer = run_fit_check("0.5B", "--params", "params.paper.yaml", "--json")
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert found["fits"]
    assert 1.0 <= found["ratio"] <= 1.4
    assert found["peak"] + found["sleeping"] < found["usable"]
    assert found["hardware"]["vllm"]["tensor_parallel"] == 1


@pytest.mark.parametrize(
    ("size", "file", "message"),
    [("9B", "params.paper.yaml", "the grid has no run of this size"), ("3k", "params.yaml", "run `rlscale pretrain`")],
)
def test_what_cannot_be_measured_is_refused_in_a_sentence(
    size: str, file: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.cli import main as cli

    with pytest.raises(SystemExit) as end:
        cli.main(["train", "--fit-check", size, "--params", str(REPOSITORY / file)])
    assert end.value.code == 2
    assert message in capsys.readouterr().err
