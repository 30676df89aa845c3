#!/usr/bin/env python3
"""Time `parp transcribe` as whole processes, on a wav2vec 2.0 base with random weights at 90%.

    .venv/bin/python scripts/bench/transcription_speed.py

First a recording of ten seconds: from the start of the process to its text, and `import torch`
only, in turn. Then long ones: the real-time factor that the program reports, and its peak memory.
Random weights make no words, which costs the same. On a machine that others use, `--one-thread`
makes processor time comparable.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from measuring import PARP, in_own_process, in_turn, machine, parser, run, times

from parp_fairseq.table import aligned

RATE = 16_000


def make_model(folder: Path, sparsity: float, quick: bool) -> None:
    """Write a sparse file whose prunable matrices have this sparsity together."""
    import torch
    from random_models import fine_tuned

    from parp_fairseq.export.sparse_export import export_sparse

    torch.save(fine_tuned(sparsity, quick), folder / "checkpoint.pt")
    export_sparse(folder / "checkpoint.pt", folder / "model.safetensors")


def make_audio(path: Path, seconds: float) -> Path:
    """Write noise that swells and fades."""
    random = np.random.default_rng(1)
    with soundfile.SoundFile(str(path), "w", RATE, 1, subtype="PCM_16") as file:
        for start in range(0, int(seconds * RATE), 10 * RATE):
            length = min(10 * RATE, int(seconds * RATE) - start)
            swell = np.sin(np.arange(length) / 4000) ** 2
            file.write(random.normal(0, 0.05, length) * swell)
    return path


def main() -> None:
    """Print two tables and the machine."""
    options = parser(__doc__, 5, "a small model, once, and no long recording")
    options.add_argument("--sparsity", type=float, default=0.9)
    options.add_argument("--minutes", type=float, nargs="*", default=[1, 10])
    options.add_argument("--engines", nargs="+", default=["auto", "dense"])
    options.add_argument("--one-thread", action="store_true")
    given = options.parse_args()
    if given.quick:
        given.rounds, given.minutes = 1, []
    if given.one_thread:
        os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        in_own_process(make_model, folder, given.sparsity, given.quick)
        command = (PARP, "transcribe", folder / "model.safetensors", "--engine")
        short = make_audio(folder / "10 seconds.wav", 10)
        ways = {"import torch": lambda: run([sys.executable, "-c", "import torch"])}
        for engine in given.engines:
            line = (*command, engine, short)
            ways[f"parp transcribe --engine {engine}"] = lambda line=line: run(line)
        rows = []
        for way, runs in in_turn(ways, given.rounds).items():
            cpu = min(each.cpu_seconds for each in runs)
            peak = max(each.peak_bytes for each in runs) / 2**20
            cells = times([each.seconds for each in runs])
            rows.append([way, *cells, f"{cpu:.2f}", f"{peak:,.0f}"])
        print(f"Ten seconds of audio, {given.sparsity:.0%}, from start to end of process:")
        header = ("process", "median s", "fastest", "slowest", "least CPU s", "peak MiB")
        print(aligned(header, rows))
        rows = []
        for minutes in given.minutes:
            path = make_audio(folder / f"{minutes:g} minutes.wav", 60 * minutes)
            for engine in given.engines:
                used = run((*command, engine, path))
                pattern = r"computed in ([\d.,]+) s \(real-time factor ([\d.]+)\)"
                computed, factor = re.search(pattern, used.errors).groups()
                cells = f"{used.cpu_seconds:.1f}", f"{used.peak_bytes / 2**20:,.0f}"
                rows.append([path.stem, engine, computed, factor, *cells])
        header = ("recording", "engine", "computed s", "real-time factor", "CPU s", "peak MiB")
        if rows:
            print(f"\n{aligned(header, rows, left=2)}")
    print(f"\n{given.rounds} rounds, in turn. {machine()}")


if __name__ == "__main__":
    main()
