#!/usr/bin/env python3
"""What pruning costs a fine-tuning of full-size wav2vec 2.0 base.

    .venv/bin/python scripts/bench/overhead.py

Real runs of fairseq-hydra-train on noise of the length of LibriSpeech's utterances (12 s), with
random weights: dense, with a static mask, and PARP that prunes after every update, in turn. An
update's time is the median of the gaps between fairseq's log lines; an event's is the median of
Pruner events on the same matrices, in this process.
"""

from __future__ import annotations

import re
import shutil
import statistics
import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import soundfile
import torch
from measuring import PARP, in_turn, machine, parser, run, seconds, times
from random_models import matrices, pretrained
from reprune import Weights, pruner_event, static_mask

from parp_fairseq.manifests.labels.labelling import ENGLISH_LETTERS
from parp_fairseq.table import aligned

SECONDS = 12.0
RATE = 16_000
RUNS = {
    "dense": ("task.prune.method=dense",),
    "mpi (static)": ("task.prune.method=mpi",),
    "parp, n = 1": ("task.prune.method=parp", "task.prune.interval=1"),
}
_ROW = re.compile(r"^\[([\d: ,-]+)\]\[train_inner\]", re.M)


def write_data(folder: Path, utterances: int) -> None:
    """Write a manifest of noise with random letters."""
    random = np.random.default_rng(1)
    frames = int(SECONDS * RATE)
    letters = [symbol for symbol, _ in ENGLISH_LETTERS[1:]]
    for split, count in (("train", utterances), ("dev_other", 1)):
        lines, labels = [str(folder)], []
        for number in range(count):
            noise = random.normal(0, 0.05, frames).clip(-1, 1).astype(np.float32)
            soundfile.write(folder / f"{split}-{number}.flac", noise, RATE)
            lines.append(f"{split}-{number}.flac\t{frames}")
            labels.append(" ".join(random.choice(letters, 150)))
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
        (folder / f"{split}.ltr").write_text("\n".join(labels) + "\n")
    symbols = "".join(f"{symbol} {count}\n" for symbol, count in ENGLISH_LETTERS)
    (folder / "dict.ltr.txt").write_text(symbols)


def train(folder: Path, method: str, updates: int, batch: int) -> tuple[float, float]:
    """Run fairseq-hydra-train; return seconds an update and the peak memory in bytes."""
    shutil.rmtree(folder / "run", ignore_errors=True)
    process = run(
        [
            PARP.with_name("fairseq-hydra-train"),
            *("--config-name", "parp_10min", "common.user_dir=parp_fairseq"),
            *(f"task.data={folder}", f"model.w2v_path={folder / 'model.pt'}"),
            *(f"hydra.run.dir={folder / 'run'}", *RUNS[method]),
            *("task.prune.interval_unit=update", "task.prune.sparsity=0.5"),
            *("common.cpu=true", "common.log_interval=1", "common.tensorboard_logdir=null"),
            *("distributed_training.distributed_world_size=1", "optimization.update_freq=[1]"),
            *(f"optimization.max_update={updates}", "model.freeze_finetune_updates=0"),
            *(f"dataset.max_tokens={int(batch * SECONDS * RATE)}", "dataset.num_workers=1"),
            *("dataset.valid_subset=dev_other", "dataset.disable_validation=true"),
            *("checkpoint.no_save=true", "model.layerdrop=0"),
        ]
    )
    (log,) = (folder / "run").rglob("hydra_train.log")
    found = [datetime.strptime(t, "%Y-%m-%d %H:%M:%S,%f") for t in _ROW.findall(log.read_text())]
    gaps = [(b - a).total_seconds() for a, b in zip(found, found[1:])]
    return statistics.median(gaps[1:]), process.peak_bytes


def event_seconds(size: str, made: Callable[[Weights, float], Callable[[], object]]) -> float:
    """The median time of an event, or of a static mask's update, on moved weights."""
    original = matrices(size)
    weights = {name: weight.clone() for name, weight in original.items()}
    work, taken = made(weights, 0.5), []
    for _ in range(10):
        for name, weight in weights.items():
            weight.copy_(original[name])
        taken.append(seconds(work))
    return statistics.median(taken[1:])


def main() -> None:
    """Print two tables and the machine."""
    options = parser(__doc__, 2, "a small model")
    options.add_argument("--updates", type=int, default=7)
    options.add_argument("--batch", type=int, default=4, help="utterances of 12 s an update")
    given = options.parse_args()
    size = "quick" if given.quick else "base"
    event, static = (event_seconds(size, made) for made in (pruner_event, static_mask))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(pretrained(given.quick)[1], folder / "model.pt")
        write_data(folder, 4 * given.batch)
        ways = {
            method: lambda method=method: train(folder, method, given.updates, given.batch)
            for method in RUNS
        }
        found = in_turn(ways, given.rounds)
    update = statistics.median(taken for taken, _ in found["dense"])
    rows = [
        [method, *times([taken for taken, _ in runs]), f"{max(p for _, p in runs) / 2**30:.2f}"]
        for method, runs in found.items()
    ]
    print(aligned(("run", "s an update", "least", "most", "peak GiB"), rows))
    costs = [(f"an event every {n} updates", event / n) for n in (1, 10, 50)]
    rows = [
        [what, f"{1000 * cost:.1f}", f"{100 * cost / update:.2f}%"]
        for what, cost in [*costs, ("a static mask", static)]
    ]
    print("\n" + aligned(("what", "ms an update", "of a dense update"), rows))
    print(
        f"\n{size}, {given.batch} utterances of {SECONDS:g} s an update, "
        f"{given.rounds} runs of {given.updates} updates; {machine()}"
    )


if __name__ == "__main__":
    main()
