#!/usr/bin/env python3
"""What pruning costs a fine-tuning of full-size wav2vec 2.0 base.

    .venv/bin/python scripts/bench/overhead.py

Real runs of fairseq-hydra-train on noise of the length of LibriSpeech's utterances (12 s), with
random weights: dense, with a held mask, and PARP that prunes after every update, in turn. An
update's time is the median of the gaps between fairseq's log lines; an event's is the median of
Pruner events on the same matrices, in this process.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import numpy as np
import soundfile
import torch
from machine import machine
from reprune import SIZES, HeldMask, OurEvent, make_weights

from parp_fairseq.manifests.labels.units import ENGLISH_LETTERS
from parp_fairseq.runs.children import program
from parp_fairseq.table import aligned

SECONDS = 12.0
RATE = 16_000
RUNS = {
    "dense": ("task.prune.method=dense",),
    "mpi (held)": ("task.prune.method=mpi",),
    "parp, n = 1": ("task.prune.method=parp", "task.prune.interval=1"),
}
_ROW = re.compile(r"^\[([\d: ,-]+)\]\[train_inner\]", re.M)


def write_model(path: Path, quick: bool) -> None:
    """Write a pre-trained base with random weights, as fairseq would."""
    from fairseq.models.wav2vec import Wav2Vec2Config, Wav2Vec2Model
    from omegaconf import OmegaConf

    torch.manual_seed(1)
    small = {"encoder_layers": 2, "encoder_embed_dim": 512, "encoder_ffn_embed_dim": 2048}
    small["encoder_attention_heads"] = 8
    config = Wav2Vec2Config(
        extractor_mode="default",
        quantize_targets=True,
        final_dim=256,
        latent_vars=320,
        **(small if quick else {}),
    )
    model = {**OmegaConf.to_container(OmegaConf.structured(config)), "_name": "wav2vec2"}
    model = {key: getattr(value, "name", value) for key, value in model.items()}
    state = {
        "args": None,
        "cfg": {
            "model": model,
            "task": {"_name": "audio_pretraining", "data": "", "normalize": False},
            "lr_scheduler": {"_name": "fixed"},
        },
        "model": Wav2Vec2Model(config).state_dict(),
        "optimizer_history": [
            {"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0}
        ],
        "extra_state": {"metrics": [], "train_iterator": {"epoch": 1}},
        "last_optimizer_state": {},
    }
    torch.save(state, path)


def write_data(folder: Path, utterances: int) -> None:
    """Write a manifest of noise with random letters."""
    random = np.random.default_rng(1)
    frames = int(SECONDS * RATE)
    letters = [symbol for symbol, _ in ENGLISH_LETTERS[1:]]
    for split in ("train", "dev_other"):
        lines, labels = [str(folder)], []
        for number in range(utterances if split == "train" else 1):
            name = f"{split}-{number}.flac"
            noise = random.normal(0, 0.05, frames).clip(-1, 1).astype(np.float32)
            soundfile.write(folder / name, noise, RATE)
            lines.append(f"{name}\t{frames}")
            labels.append(" ".join(random.choice(letters, 150)))
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
        (folder / f"{split}.ltr").write_text("\n".join(labels) + "\n")
    symbols = "".join(f"{symbol} {count}\n" for symbol, count in ENGLISH_LETTERS)
    (folder / "dict.ltr.txt").write_text(symbols)


def train(folder: Path, method: str, updates: int, batch: int) -> tuple[float, float]:
    """Run fairseq-hydra-train; return seconds an update and the peak memory in bytes."""
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    arguments = [
        program("fairseq-hydra-train"),
        *("--config-name", "parp_10min", "common.user_dir=parp_fairseq"),
        *(f"task.data={folder}", f"model.w2v_path={folder / 'model.pt'}", f"hydra.run.dir={run}"),
        *RUNS[method],
        *("task.prune.interval_unit=update", "task.prune.sparsity=0.5"),
        *("common.cpu=true", "common.log_interval=1", "common.tensorboard_logdir=null"),
        *("distributed_training.distributed_world_size=1", "optimization.update_freq=[1]"),
        *(f"optimization.max_update={updates}", "model.freeze_finetune_updates=0"),
        *(f"dataset.max_tokens={int(batch * SECONDS * RATE)}", "dataset.num_workers=1"),
        *("dataset.valid_subset=dev_other", "dataset.disable_validation=true"),
        *("checkpoint.no_save=true", "model.layerdrop=0"),
    ]
    log = folder / "output.log"
    with log.open("w") as stream:
        process = subprocess.Popen(arguments, stdout=stream, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{method} failed: {log.read_text()[-2000:]}")
    found = [datetime.strptime(t, "%Y-%m-%d %H:%M:%S,%f") for t in _ROW.findall(log.read_text())]
    gaps = [(b - a).total_seconds() for a, b in zip(found, found[1:])]
    return statistics.median(gaps[1:]), usage.ru_maxrss * 1024


def event_seconds(size: str, kind: type, repeats: int) -> float:
    """Return the median time of an event, or of a held mask's update, on moved weights."""
    original = make_weights(*SIZES[size], "cpu")
    weights = {name: weight.clone() for name, weight in original.items()}
    work = kind(weights, 0.5)
    times = []
    for _ in range(repeats):
        for name, weight in weights.items():
            weight.copy_(original[name])
        start = time.perf_counter()
        work(weights, 0.5, 0.0)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> None:
    """Measure, and print two tables and the machine."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--updates", type=int, default=7)
    parser.add_argument("--batch", type=int, default=4, help="utterances of 12 s an update")
    parser.add_argument("--repeats", type=int, default=2, help="runs of each method, in turn")
    parser.add_argument("--quick", action="store_true", help="a small model, to try the script")
    options = parser.parse_args()
    size = "quick" if options.quick else "base"
    event, held = (event_seconds(size, kind, 10) for kind in (OurEvent, HeldMask))
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in RUNS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "model.pt", options.quick)
        write_data(folder, 4 * options.batch)
        for _ in range(options.repeats):
            for method in RUNS:
                found[method].append(train(folder, method, options.updates, options.batch))
    update = statistics.median(seconds for seconds, _ in found["dense"])
    rows = [
        [
            method,
            f"{statistics.median(s for s, _ in runs):.2f}",
            f"{min(s for s, _ in runs):.2f} to {max(s for s, _ in runs):.2f}",
            f"{1 / statistics.median(s for s, _ in runs):.3f}",
            f"{max(peak for _, peak in runs) / 2**30:.2f}",
        ]
        for method, runs in found.items()
    ]
    print(aligned(("run", "s an update", "runs", "updates/s", "peak GiB"), rows, left=1))
    rows = [
        ["an event", "-", f"{1000 * event:.0f}", f"{100 * event / update:.2f}%"],
        *(
            [
                f"PARP, n = {n}",
                str(n),
                f"{1000 * event / n:.1f}",
                f"{100 * event / n / update:.2f}%",
            ]
            for n in (1, 10, 50)
        ),
        ["a held mask", "1", f"{1000 * held:.1f}", f"{100 * held / update:.2f}%"],
    ]
    print("\n" + aligned(("what", "every", "ms an update", "of a dense update"), rows, left=1))
    print(
        f"\n{size}, {options.batch} utterances of {SECONDS:g} s an update, "
        f"{options.repeats} runs of {options.updates} updates; {machine()}"
    )


if __name__ == "__main__":
    main()
