"""The update phase at layer shapes of Qwen2.5: MFU, tokens per second against TRL's trainer, peak memory.

    python benchmarks/train_gpu.py [--shape 0.5B|1.5B|3B|7B|...] [--layers N] [--prompts 512] [--trl-prompts 16]
                                   [--settings KERNELS,ROWS,RECOMPUTED ...] [--profile] [--small]

Random weights in bfloat16 of a size's widths and vocabulary, with as many of its layers as `LIMIT` parameters allow;
512 x 8 completions whose lengths are log-normal with a mean of 700 tokens, cut at 4,096 (see `packing.py`), KL to a
frozen reference, 4 minibatches. Ours is the trainer's own `PolicyUpdater` on packed micro-batches; rows and
recomputation are what the memory estimate chooses for the device, if --rows does not say. TRL's is `GRPOTrainer` on a
part of the same groups, padded, its reference pass, loss, backward and optimiser step, --trl-sequences per micro-batch
or, where they do not fit, half as many, and so on; 0 prompts leave it out.
A token is a completion token. MFU counts forward, backward and reference once, nothing recomputed, over the device's
dense bf16 peak. `--small` is the same on a narrow model and few short completions: it shows on a CPU that the script
runs, its figures mean nothing.

Prints rows of a table for `RESULTS.md`, one for each of --settings, such as `liger,8192,no` (kernels: transformers,
liger, compile; `auto` rows and recomputation: by the estimate); `--profile` adds where the GPU's time goes.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from packing import OBJECTIVE, draw_groups, micro_batches
from torch.autograd import DeviceType
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from tasks.costs.flops import Architecture
from tasks.costs.gpu_table import peak_of_device
from tasks.costs.hardware_choice import choose_hardware
from tasks.costs.memory import GIB, Devices
from tasks.costs.model_shape import ModelShape, published_configs
from tasks.policy.attention import supports_varlen
from tasks.policy.kernels import PLAIN, KernelOptions, use_kernels
from tasks.pretrain.tiny import build_tokenizer
from tasks.study.params import SizedHardware, load_params
from tasks.train.batching import MicroBatch, RolloutGroup
from tasks.train.ledger import model_flops
from tasks.train.parallel import build_policy, init_parallel
from tasks.train.update import PolicyUpdater

UPDATES = 4
SETTINGS = load_params(Path(__file__).parents[1] / "params.paper.yaml").train.optimizer
LIMIT = 3e9
"""Parameters at most: 18 bytes of each on one device, TRL's 20."""
SMALL = {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
SMALL |= {"num_attention_heads": 2, "num_key_value_heads": 2}
KERNELS = {
    "transformers": PLAIN,
    "liger": KernelOptions(liger=True),
    "compile": KernelOptions(compiled=True),
}
HEADER = "| shape | device | torch | transformers | kernels | rows | recomputed | MFU | tokens/s "
HEADER += "| TRL's | ratio | GiB | TRL's |"


def shape_of(size: str, small: bool = False, layers: int | None = None) -> dict[str, Any]:
    """A size's config with so many layers, or as many as `LIMIT` allows."""
    config = published_configs()[f"Qwen/Qwen2.5-{size}"] | {"max_position_embeddings": 32768}
    if small:
        return config | SMALL
    shape = ModelShape.from_config(config)
    outside = shape.total - shape.architecture.n_params
    layers = layers or min(shape.architecture.num_hidden_layers, int((LIMIT - outside) / shape.layer))
    return config | {"num_hidden_layers": layers}


def choose_rows(shape: dict[str, Any], rows: int | None, recomputed: bool | None = None) -> SizedHardware:
    """Rows and recomputation as given or as the memory estimate chooses, without an engine beside the trainer."""
    params = load_params(Path(__file__).parents[1] / "params.paper.yaml")
    engine = params.hardware.vllm.model_copy(update={"mode": "server"})
    hardware = params.hardware.model_copy(
        update={"vllm": engine, "token_budget": rows, "gradient_checkpointing": recomputed}
    )
    params = params.model_copy(update={"hardware": hardware})
    on_gpu = torch.cuda.is_available()
    capacity = torch.cuda.get_device_properties(0).total_memory if on_gpu else 8 * GIB
    return choose_hardware(params, "0.5B", ModelShape.from_config(shape), Devices(1, 1, True, capacity, on_gpu))


def write_checkpoint(folder: Path, shape: dict[str, Any]) -> None:
    """A checkpoint of random weights."""
    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = Qwen2ForCausalLM(Qwen2Config(**shape)).to(torch.bfloat16)
    model.cpu().save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)


def timed(device: torch.device, work: Callable[[], object]) -> tuple[float, float]:
    """Seconds, and peak GiB on the device (0 on a CPU), of the second of two turns."""
    seconds = peak = 0.0
    for _ in range(2):
        if device.type == "cuda":
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
            peak = torch.cuda.max_memory_allocated() / 2**30
        seconds = time.perf_counter() - start
    return seconds, peak


def make_updater(checkpoint: Path, recomputed: bool, kernels: KernelOptions = PLAIN) -> PolicyUpdater:
    """The trainer's updater on one device, in bfloat16."""
    parallel = init_parallel("bfloat16")
    policy = build_policy(parallel, checkpoint)
    reference = build_policy(parallel, checkpoint, frozen=True)
    for model in (policy, reference):
        use_kernels(model.model, kernels)
    if recomputed:
        policy.model.gradient_checkpointing_enable({"use_reentrant": False})
        policy.train()
    return PolicyUpdater(
        parallel=parallel,
        policy=policy,
        reference=reference,
        optimizer=torch.optim.AdamW(policy.parameters(), lr=SETTINGS.learning_rate, fused=True),
        objective=OBJECTIVE,
        temperature=1.0,
        sampler_is_exact=True,  # the old log-probabilities are drawn, not computed
        settings=SETTINGS,
    )


def ours(
    checkpoint: Path, groups: list[RolloutGroup], hardware: SizedHardware, kernels: KernelOptions, profiled: bool
) -> tuple[float, float, float]:
    """Seconds, peak GiB and necessary FLOPs of the whole update phase."""
    updater = make_updater(checkpoint, hardware.gradient_checkpointing, kernels)
    device, policy = updater.parallel.accelerator.device, updater.policy
    architecture = Architecture.from_config(policy.model.config.to_dict())
    varlen = supports_varlen(device, "bfloat16", architecture.head_dim)
    held: list[list[list[MicroBatch]]] = []

    def step(groups: list[RolloutGroup] = groups) -> None:
        share = -(-len(groups) // UPDATES)
        parts = [groups[start : start + share] for start in range(0, len(groups), share)]
        minibatches = [micro_batches(part, hardware.token_budget, device, varlen) for part in parts]
        held[:] = [minibatches]
        updater.step(minibatches, 1, "benchmark")

    seconds, peak = timed(device, step)
    useful = model_flops(architecture, held[0], {"reference": True})
    if profiled:
        print(profile_of(lambda: step(groups[:UPDATES])))
    return seconds, peak, useful


def profile_of(step: Callable[[], object]) -> str:
    """The kernels that take most of the device's time in one turn."""
    kinds = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[kinds.CUDA if torch.cuda.is_available() else kinds.CPU]) as profile:
        step()
    events = [event for event in profile.key_averages() if event.device_type == DeviceType.CUDA]
    total = sum(event.self_device_time_total for event in events)
    events.sort(key=lambda event: -event.self_device_time_total)
    lines = [f"{e.self_device_time_total / total:6.1%} {e.count:7d} x {e.key[:110]}" for e in events[:25] if total]
    return "\n".join([f"{total / 1e6:.2f} s of kernels", *lines])


def theirs_that_fits(checkpoint: Path, groups: list[RolloutGroup], sequences: int, cpu: bool) -> tuple[float, float]:
    """`theirs` with half as many sequences per micro-batch until they fit; NaN where not even one does."""
    while sequences:
        try:
            return theirs(checkpoint, groups, sequences, cpu)
        except torch.OutOfMemoryError:
            sequences //= 2
        empty()
    return float("nan"), float("nan")


def theirs(checkpoint: Path, groups: list[RolloutGroup], sequences: int, cpu: bool) -> tuple[float, float]:
    """Seconds and peak GiB of TRL's loss, backward and optimiser step over the groups."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=cpu,
        bf16=not cpu,
        report_to="none",
        per_device_train_batch_size=len(groups[0].completions),  # of its own loop, which is not run
        num_generations=len(groups[0].completions),
        beta=OBJECTIVE.kl_coefficient,
        loss_type="bnpo",
        use_bias_correction_kl=False,
        gradient_checkpointing=False,
        learning_rate=1e-6,
    )
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=config,
        train_dataset=Dataset.from_list([{"prompt": "1+1="}]),
        processing_class=PreTrainedTokenizerFast.from_pretrained(checkpoint, padding_side="left"),
    )
    trainer.current_gradient_accumulation_steps = 1
    device = trainer.accelerator.device
    model = trainer.model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, fused=True)
    examples = [(g.prompt, c, a) for g in groups for c, a in zip(g.completions, g.advantages, strict=True)]
    batches = [padded(examples[start : start + sequences], device) for start in range(0, len(examples), sequences)]
    per_update = -(-len(batches) // UPDATES)

    def step() -> None:
        for start in range(0, len(batches), per_update):
            optimizer.zero_grad(set_to_none=True)
            for inputs in batches[start : start + per_update]:
                with torch.no_grad(), trainer.compute_loss_context_manager():
                    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], 1)
                    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], 1)
                    keep = inputs["completion_ids"].shape[1]
                    frozen = trainer.ref_model or model
                    held = trainer._get_per_token_logps_and_entropies(frozen, ids, mask, keep)[0]
                with trainer.compute_loss_context_manager():
                    loss = trainer._compute_loss(model, inputs | {"ref_per_token_logps": held})
                loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    return timed(device, step)


def padded(examples: list[Any], device: torch.device) -> dict[str, torch.Tensor]:
    """TRL's inputs: prompts padded on the left, completions on the right."""
    widest = max(len(prompt) for prompt, _, _ in examples)
    longest = max(len(completion.tokens) for _, completion, _ in examples)
    count = len(examples)
    out = {
        "prompt_ids": torch.zeros(count, widest, dtype=torch.int64),
        "prompt_mask": torch.zeros(count, widest, dtype=torch.int64),
        "completion_ids": torch.zeros(count, longest, dtype=torch.int64),
        "completion_mask": torch.zeros(count, longest, dtype=torch.int64),
        "advantages": torch.tensor([advantage for _, _, advantage in examples]),
        "old_per_token_logps": torch.zeros(count, longest),
        "num_items_in_batch": torch.tensor(sum(len(completion.tokens) for _, completion, _ in examples)),
    }
    for row, (prompt, completion, _) in enumerate(examples):
        size = len(completion.tokens)
        out["prompt_ids"][row, widest - len(prompt) :] = torch.tensor(prompt)
        out["prompt_mask"][row, widest - len(prompt) :] = 1
        out["completion_ids"][row, :size] = torch.tensor(completion.tokens)
        out["completion_mask"][row, :size] = 1
        out["old_per_token_logps"][row, :size] = torch.tensor(completion.logprobs)
    return {name: tensor.to(device) for name, tensor in out.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="0.5B", help="a size of the published family")
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--prompt", type=float, default=120.0, help="mean length of a prompt, tokens")
    parser.add_argument("--layers", type=int, default=None)
    parser.add_argument("--trl-prompts", type=int, default=16)
    parser.add_argument("--trl-sequences", type=int, default=8)
    parser.add_argument("--settings", nargs="+", default=["transformers,auto,auto"])
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args()
    cpu = not torch.cuda.is_available()
    if cpu and not given.small:
        raise SystemExit("train_gpu.py: no GPU here; --small shows on a CPU that the script runs")
    shape = shape_of(given.shape, given.small, given.layers)
    prompts, other_prompts = (8, 4) if given.small else (given.prompts, given.trl_prompts)
    vocabulary, scale = (20, 32) if given.small else (shape["vocab_size"], 1)
    groups = draw_groups(prompts, given.group, given.prompt, scale, vocabulary, seed=0)
    part = groups[:other_prompts]
    name = "CPU, small: figures mean nothing" if cpu else torch.cuda.get_device_name()
    limit = None if cpu else peak_of_device(name)
    name_of_shape = f"{given.shape}, {shape['num_hidden_layers']} layers"
    with tempfile.TemporaryDirectory() as folder:
        write_checkpoint(Path(folder), shape)
        rows = []
        for kernels, budget, recomputed in (setting.split(",") for setting in given.settings):
            recompute = {"yes": True, "no": False, "auto": None}[recomputed]
            hardware = choose_rows(shape, None if budget == "auto" else int(budget), recompute)
            seconds, peak, useful = ours(Path(folder), groups, hardware, KERNELS[kernels], given.profile)
            mfu = "unknown" if limit is None else f"{useful / seconds / limit:.1%}"
            rows.append((kernels, hardware, mfu, tokens_of(groups) / seconds, peak))
            empty()
        other, other_peak = float("nan"), float("nan")
        if part:
            seconds, other_peak = theirs_that_fits(Path(folder), part, given.trl_sequences, cpu)
            other = tokens_of(part) / seconds
    print(HEADER + "\n|" + "---|" * (HEADER.count("|") - 1))
    for kernels, hardware, mfu, mine, peak in rows:
        print(
            f"| {name_of_shape} | {name} | {torch.__version__} | {transformers.__version__} | {kernels} | "
            f"{hardware.token_budget} | {'yes' if hardware.gradient_checkpointing else 'no'} | {mfu} | {mine:,.0f} | "
            f"{other:,.0f} | {mine / other:.2f} | {peak:.1f} | {other_peak:.1f} |"
        )


def empty() -> None:
    """Gives the allocator's memory back."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def tokens_of(groups: list[RolloutGroup]) -> int:
    return sum(len(completion.tokens) for group in groups for completion in group.completions)


if __name__ == "__main__":
    main()
