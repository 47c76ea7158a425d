"""How long and how much memory `rlscale prepare` takes on a set as large as the published one, and on a million rows.

    python benchmarks/prepare_speed.py                      # 53,904 rows
    python benchmarks/prepare_speed.py --rows 1000000
    python benchmarks/prepare_speed.py --signatures         # MinHash here against datasketch, texts per second

The set is synthetic (seeded): problems of about 230 characters with formulas, 3 % exact copies, 3 % near-copies, 10 %
doubled backslashes, 1 % unparsable golds, 0.5 % copies of evaluation problems; eight evaluation sets, 2,953 problems.
The stage runs in a process of its own; its peak resident memory includes the mapped scratch file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

REPOSITORY = Path(__file__).parents[1]
SETS = {"heldout": 500, "b500": 500, "b1319": 1319, "b30": 30, "b40": 40, "b164": 164, "b200": 200, "c200": 200}
PREFIX = "You are a knowledgeable math assistant. Answer the following questions and think step by step. "
SUFFIX = " Please output the final answer within \\boxed{}."
CHUNK = 20_000


def problems(count: int, generator: np.random.Generator) -> list[tuple[str, str]]:
    """Draws (problem, answer) pairs from a Zipf-like vocabulary with a formula in the middle."""
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    vocabulary = ["".join(letters[generator.integers(0, 26, size)]) for size in generator.integers(2, 10, 4000)]
    lengths = generator.integers(15, 55, count)
    words = (4000 * generator.random(int(lengths.sum())) ** 2.5).astype(int)
    ends = np.cumsum(lengths)
    numbers = generator.integers(1, 10_000, (count, 4))
    kinds = generator.random(count)
    out = []
    for end, size, (a, b, c, d), kind in zip(ends, lengths, numbers.tolist(), kinds, strict=True):
        chosen = [vocabulary[word] for word in words[end - size : end]]
        half = size // 2
        formula = f"$\\frac{{{a}}}{{x+{b}}}=\\sqrt{{{c}}}$"
        text = " ".join(chosen[:half]) + f" {formula} " + " ".join(chosen[half:]) + "?"
        out.append((text, _answer(kind, a, d)))
    return out


def _answer(kind: float, a: int, d: int) -> str:
    if kind < 0.10:
        return f"\\\\frac{{{a}}}{{{d}}}"  # escaped once too often, as in the published data
    if kind < 0.11:
        return "\\begin{cases}"
    if kind < 0.13:
        return f"x \\leq {a}"
    return f"\\frac{{{a}}}{{{d}}}" if kind < 0.3 else str(a)


def write_set(path: Path, pairs: Iterator[list[tuple[str, str]]], generator: np.random.Generator) -> None:
    """Writes chunks of pairs in the published layout, pass rates in sixteenths."""
    message = pa.struct([("content", pa.string()), ("role", pa.string())])
    fields = [("data_source", pa.string()), ("prompt", pa.list_(message)), ("ability", pa.string())]
    fields += [("reward_model", pa.struct([("ground_truth", pa.string()), ("style", pa.string())]))]
    fields += [("extra_info", pa.struct([("qwen2.5_7b_pass_rate", pa.float64())]))]
    with pq.ParquetWriter(path, pa.schema(fields)) as writer:
        for chunk in pairs:
            rates = (generator.integers(0, 12, len(chunk)) / 16).tolist()
            rows = [
                {
                    "data_source": "math__synthetic",
                    "prompt": [{"role": "user", "content": PREFIX + text + SUFFIX}],
                    "ability": "math",
                    "reward_model": {"ground_truth": answer, "style": "rule"},
                    "extra_info": {"qwen2.5_7b_pass_rate": rate},
                }
                for (text, answer), rate in zip(chunk, rates, strict=True)
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema=pa.schema(fields)))


def training_chunks(
    rows: int, evaluation: list[tuple[str, str]], generator: np.random.Generator
) -> Iterator[list[tuple[str, str]]]:
    """Draws training problems, with copies of earlier ones and of evaluation problems among them."""
    for start in range(0, rows, CHUNK):
        chunk = problems(min(CHUNK, rows - start), generator)
        draws = generator.random(len(chunk))
        for place in range(1, len(chunk)):
            other = chunk[int(generator.integers(place))]
            if draws[place] < 0.03:
                chunk[place] = other
            elif draws[place] < 0.06:
                words = other[0].split(" ")
                words[3] = "indeed"
                chunk[place] = (" ".join(words), other[1])
            elif draws[place] < 0.065:
                chunk[place] = evaluation[int(generator.integers(len(evaluation)))]
        yield chunk


def make_study(folder: Path, rows: int) -> Path:
    """Writes the synthetic files and a params file that reads them."""
    generator = np.random.default_rng(0)
    evaluation = {name: problems(count, generator) for name, count in SETS.items()}
    for name, pairs in evaluation.items():
        write_set(folder / f"{name}.parquet", iter([pairs]), generator)
    everything = [pair for pairs in evaluation.values() for pair in pairs]
    write_set(folder / "train.parquet", training_chunks(rows, everything, generator), generator)
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params["study"]["data_root"] = str(folder / "data")
    params["train"] |= {"steps": int(rows * 0.8) // 51_200 * 100 or 80, "batch": 512, "minibatch": 128}
    params["grid"]["reuse"]["factors"] = [2, 5, 10]
    params["hardware"]["grading_workers"] = 2
    benchmarks = [{"name": n, "source": "file", "path": str(folder / f"{n}.parquet")} for n in SETS if n != "heldout"]
    params["prepare"] |= {
        "source": {
            "kind": "file",
            "path": str(folder / "train.parquet"),
            "heldout_path": str(folder / "heldout.parquet"),
        },
        "instruction": PREFIX,
        "suffix": SUFFIX,
        "cleaning": {"near_duplicate_similarity": 0.9, "decontaminate_similarity": 0.7},
        "benchmarks": benchmarks,
    }
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(params))
    return path


def measure(rows: int) -> None:
    """Prepares a synthetic set in a fresh process and prints seconds and peak memory."""
    with tempfile.TemporaryDirectory() as name:
        params = make_study(Path(name), rows)
        code = (
            "import json, resource, sys; from pathlib import Path; from tasks.study.params import load_params; "
            "from tasks.prepare.prepare import prepare; m = prepare(load_params(Path(sys.argv[1]))); "
            "print(json.dumps([m['counts'], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))"
        )
        begun = time.perf_counter()
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(
            [sys.executable, "-c", code, str(params)], env=environment, capture_output=True, text=True, check=True
        )
        seconds = time.perf_counter() - begun
        counts, peak = json.loads(done.stdout.splitlines()[-1])
    print(f"{rows:>9,} rows  {seconds:7.1f} s  {rows / seconds:8,.0f} rows/s  peak {peak / 2**20:5.2f} GiB  {counts}")


def compare_signatures() -> None:
    """MinHash signatures of 64 components over 5-byte pieces: vectorised here, and datasketch one text at a time."""
    from datasketch import MinHash

    from tasks.prepare.overlap.minhash import minhash_signatures, shingle_set
    from tasks.prepare.sources.normalize import normalize

    texts = [normalize(text) for text, _ in problems(4000, np.random.default_rng(1))]
    minhash_signatures(texts[:10])
    begun = time.perf_counter()
    minhash_signatures(texts)
    ours = len(texts) / (time.perf_counter() - begun)
    begun = time.perf_counter()
    for text in texts[:1000]:
        MinHash(num_perm=64).update_batch(list(shingle_set(text)))
    theirs = 1000 / (time.perf_counter() - begun)
    print(f"texts per second: vectorised {ours:,.0f}, datasketch {theirs:,.0f}, ratio {ours / theirs:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=53_904)
    parser.add_argument("--signatures", action="store_true", help="Compare MinHash implementations instead.")
    arguments = parser.parse_args()
    if arguments.signatures:
        compare_signatures()
    else:
        measure(arguments.rows)


if __name__ == "__main__":
    main()
