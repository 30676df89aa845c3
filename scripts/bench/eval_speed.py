"""`parp eval` beside fairseq's own infer: whole processes, alternately, on a demo's data.

    .venv/bin/python scripts/bench/evaluate.py DEMO_FOLDER

DEMO_FOLDER is one that `parp demo` (or scripts/demo.sh) has filled. Both decode the same split
with the same batches on the CPU, and must come to the same error rate. `--times 10` decodes a
split of ten times as many utterances (the same ones again).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from machine import machine

from parp_fairseq.table import aligned

CHECKPOINT = "runs/dense_seed1/checkpoints/checkpoint_last.pt"
DATA = "data/1h"


def main() -> None:
    """Measure, and print a table and the machine."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("demo", type=Path)
    parser.add_argument("--split", default="test-clean")
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one repeat of the split as it is")
    options = parser.parse_args()
    times, repeats = ([1], 1) if options.quick else (options.times, options.repeats)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for factor in times:
            rows += measure(options.demo.resolve(), options.split, factor, repeats, Path(folder))
    header = ("utterances", "minutes", "program", "WER", "median s", "smallest", "largest")
    print(aligned(header, rows, left=0))
    print(f"{repeats} runs each, in turn; {machine()}")


def measure(demo: Path, split: str, factor: int, repeats: int, folder: Path) -> list[list[str]]:
    """Rows of the table for a split `factor` times as long."""
    data = folder / f"{split}-{factor}"
    utterances, minutes = write_split(demo / DATA, split, factor, data)
    scores = folder / "scores.json"
    results = folder / "infer"
    results.mkdir(exist_ok=True)
    checkpoint = demo / CHECKPOINT
    commands = {
        "parp eval": [
            str(Path(sys.executable).with_name("parp")),
            *("eval", str(checkpoint), "--data", str(data), "--split", split),
            *("--device", "cpu", "--json", str(scores)),
        ],
        "fairseq's infer": [
            *(sys.executable, "-m", "parp_fairseq.evaluation.infer"),
            *("task=audio_finetuning", f"task.data={data}", "task.labels=ltr"),
            *("decoding.type=viterbi", f"decoding.results_path={results}"),
            *(f"common_eval.path={checkpoint}", f"common_eval.results_path={results}"),
            *("common_eval.post_process=letter", "common_eval.quiet=true"),
            *("common.cpu=true", f"dataset.gen_subset={split}"),
            *("dataset.required_batch_size_multiple=1", f"hydra.run.dir={results}"),
        ],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            seconds[name].append(run(command, folder))
    rates = {
        "parp eval": json.loads(scores.read_text())[0]["rate"],
        "fairseq's infer": float((results / "wer").read_text().split()[1]),
    }
    if len(set(rates.values())) != 1:
        raise SystemExit(f"the error rates differ: {rates}")
    return [
        [
            f"{utterances:,}",
            f"{minutes:.0f}",
            name,
            f"{rates[name]:.2f}",
            *(f"{of(taken):.1f}" for of in (statistics.median, min, max)),
        ]
        for name, taken in seconds.items()
    ]


def write_split(source: Path, split: str, factor: int, out: Path) -> tuple[int, float]:
    """Write a split whose rows stand there `factor` times; return utterances and minutes."""
    out.mkdir()
    root, *rows = (source / f"{split}.tsv").read_text(encoding="utf-8").splitlines()
    labels = (source / f"{split}.ltr").read_text(encoding="utf-8").splitlines()
    rows *= factor
    (out / f"{split}.tsv").write_text("\n".join([root, *rows]) + "\n", encoding="utf-8")
    (out / f"{split}.ltr").write_text("\n".join(labels * factor) + "\n", encoding="utf-8")
    (out / "dict.ltr.txt").write_bytes((source / "dict.ltr.txt").read_bytes())
    return len(rows), sum(int(row.split("\t")[1]) for row in rows) / 16_000 / 60


def run(command: Sequence[str], folder: Path) -> float:
    """Seconds that a command takes; its output is shown where it fails."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    taken = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return taken


if __name__ == "__main__":
    main()
