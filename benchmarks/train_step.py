"""One GRPO step against TRL's GRPOTrainer: same model, prompts, lengths and hyper-parameters, one thread each.

    python benchmarks/train_step.py [--sizes 99k,394k] [--steps 4] [--repeats 3]

A step is 64 prompts x 8 completions, 4 minibatches, KL on; rollout and update are timed, evaluation is left out because
TRL does none here. The model is pretrained for a few hundred steps first, so that completions have the study's lengths.
The two run in turn, step groups A B A B, and the medians' ratio is printed: above 1 means ours is faster.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks.prepare.prepare import prepare
from tasks.pretrain.steps import collect
from tasks.pretrain.tiny import train_tiny_model
from tasks.records.problems import read_problems
from tasks.study.grid import Run, expand_grid
from tasks.study.params import Params, load_params
from tasks.study.paths import StudyPaths
from tasks.study.status import model_names
from tasks.train.checkpoints import TrainerState
from tasks.train.context import open_context
from tasks.train.loop import PhaseTimer, train_step

ROOT = Path(__file__).parents[1]
WARM = 2


def study(sizes: list[str], folder: Path, pretrain_steps: int) -> Params:
    """The miniature study reduced to some sizes, with a short pretraining."""
    params = load_params(ROOT / "params.yaml")
    family = params.pretrain.family
    base = family.base.model_copy(update={"steps": pretrain_steps})
    train = params.train
    heldout = train.heldout.model_copy(update={"every": 10**9})
    updates = {
        "study": params.study.model_copy(update={"data_root": str(folder)}),
        "grid": params.grid.model_copy(
            update={"sizes": tuple(sizes), "variants": ("base",), "seeds": (0,), "reuse": None, "group_size": None}
        ),
        "pretrain": params.pretrain.model_copy(update={"family": family.model_copy(update={"base": base})}),
        "train": train.model_copy(update={"heldout": heldout}),
    }
    return params.model_copy(update=updates)


def ours(params: Params, run: Run, steps: int) -> tuple[list[float], float]:
    """Seconds of each step of our loop, and the mean completion length of the last."""
    session = open_context(params, run, "benchmark")
    session.folder.mkdir(parents=True, exist_ok=True)
    session.refresh_sampler()
    state, seconds = TrainerState(), []
    for step in range(1, WARM + steps + 1):
        start = time.perf_counter()
        state, row = train_step(session, step, state, PhaseTimer())
        seconds.append(time.perf_counter() - start)
    session.close()
    return seconds[WARM:], row.completion_length


def theirs(params: Params, run: Run, steps: int) -> tuple[list[float], float]:
    """Seconds of each step of TRL's trainer, one generation batch and its four updates; and its completions' length."""
    from datasets import Dataset
    from transformers import TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    layout, train = StudyPaths.of(params), params.train
    problems = read_problems(layout.train_problems)
    rows = [
        {"prompt": [{"role": role, "content": text} for role, text in problem.messages], "answer": problem.answer}
        for problem in problems
    ]
    updates = train.batch // train.minibatch
    marks: list[float] = []

    class Ticks(TrainerCallback):
        def on_step_end(self, args: object, state: object, control: object, **kwargs: object) -> None:
            marks.append(time.perf_counter())

    def reward(completions: list[list[dict[str, str]]], answer: list[str], **kwargs: object) -> list[float]:
        texts = [messages[0]["content"] for messages in completions]
        return [float(text == f"\\boxed{{{gold}}}") for text, gold in zip(texts, answer, strict=True)]

    settings, objective = train.optimizer, train.objective
    config = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        use_cpu=True,
        bf16=False,
        report_to="none",
        save_strategy="no",
        logging_steps=10**6,
        disable_tqdm=True,
        gradient_checkpointing=False,
        shuffle_dataset=False,
        per_device_train_batch_size=train.minibatch * train.group_size,
        steps_per_generation=updates,
        num_generations=train.group_size,
        max_completion_length=train.sampling.max_completion_tokens,
        max_steps=(WARM + steps) * updates,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="constant",
        weight_decay=settings.weight_decay,
        adam_beta2=settings.beta2,
        max_grad_norm=settings.grad_clip,
        beta=objective.kl_coefficient,
        epsilon=objective.clip_low,
        loss_type="bnpo",
        use_bias_correction_kl=False,
        temperature=train.sampling.temperature,
        top_k=0,
    )
    checkpoint = layout.model(run.model)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, padding_side="left")
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32),
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        callbacks=[Ticks()],
    )
    marks.append(time.perf_counter())
    trainer.train()
    ends = marks[updates::updates]
    seconds = [b - a for a, b in zip([marks[0], *ends], ends, strict=False)][WARM:]
    return seconds, trainer.state.log_history[-1]["completions/mean_length"]


def main() -> None:
    """Prints one row per size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="99k,394k")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pretrain-steps", type=int, default=150)
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'size':>6} {'ours s':>9} {'TRL s':>9} {'ratio':>7}   tokens per completion, ours and TRL's")
    with tempfile.TemporaryDirectory() as folder:
        params = study(given.sizes.split(","), Path(folder), given.pretrain_steps)
        prepare(params)
        for name in model_names(params):
            train_tiny_model(params, name)
        collect(params)
        for run in expand_grid(params):
            mine: list[float] = []
            other: list[float] = []
            for _ in range(given.repeats):
                seconds, length = ours(params, run, given.steps)
                mine += seconds
                seconds, other_length = theirs(params, run, given.steps)
                other += seconds
            a, b = statistics.median(mine), statistics.median(other)
            print(f"{run.size:>6} {a:9.3f} {b:9.3f} {b / a:7.2f}   {length:.2f} {other_length:.2f}", flush=True)
    print(f"medians of {given.repeats} x {given.steps} steps; torch {torch.__version__}")


if __name__ == "__main__":
    main()
