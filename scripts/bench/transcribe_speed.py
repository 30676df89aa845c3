#!/usr/bin/env python3
"""Time `parp transcribe` as whole processes, on a wav2vec 2.0 base with random weights at 90%.

    .venv/bin/python scripts/bench/transcribe.py

First a recording of ten seconds: from the start of the process to its text, with `import torch`
alone beside it, in turn. Then a long one: the real-time factor that the program reports, and how
much memory it took at most. Random weights make no words, which costs the same.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import soundfile

from parp_fairseq.table import aligned

PARP = Path(sys.executable).with_name("parp")
CONVOLUTIONS = ((512, 10, 5), *[(512, 3, 2)] * 4, *[(512, 2, 2)] * 2)
RATE = 16_000


def make_model(folder: Path, sparsity: float) -> None:
    """Write a sparse file of base's size; its transformer's matrices have this sparsity."""
    import torch

    from parp_fairseq.export.sparse import export_sparse
    from parp_fairseq.inference.architecture import Architecture
    from parp_fairseq.inference.network import Wav2Vec2Ctc
    from parp_fairseq.manifests.labels.letters import ENGLISH_LETTERS
    from parp_fairseq.pruning import Scope, magnitude_mask

    torch.manual_seed(1)
    symbols = [symbol for symbol, _ in ENGLISH_LETTERS]
    base = Architecture(
        convolutions=CONVOLUTIONS,
        norm="group",
        conv_bias=False,
        projected=True,
        width=768,
        hidden=3072,
        layers=12,
        heads=12,
        activation="gelu",
        layer_norm_first=False,
        position_kernel=128,
        position_groups=16,
        position_depth=1,
        symbols=len(symbols) + 4,
    )
    weights = {name: tensor.detach() for name, tensor in Wav2Vec2Ctc(base).state_dict().items()}
    for name in Scope().select(weights):
        kept = magnitude_mask({name: weights[name]}, sparsity)[name]
        weights[name].masked_fill_(~kept, 0.0)
    task = {"_name": "audio_finetuning", "data": "", "labels": "ltr", "normalize": False}
    pretraining = {"_name": "audio_pretraining", "data": "", "normalize": False}
    model = {
        "_name": "wav2vec_ctc",
        "normalize": False,
        "w2v_args": {"model": {"_name": "wav2vec2"}, "task": pretraining},
    }
    state = {
        "args": None,
        "cfg": {"model": model, "task": task},
        "model": weights,
        "task_state": {"parp_symbols": {"symbols": symbols, "counts": [1] * len(symbols)}},
    }
    torch.save(state, folder / "checkpoint.pt")
    export_sparse(folder / "checkpoint.pt", folder / "model.safetensors")
    (folder / "checkpoint.pt").unlink()


def make_audio(path: Path, seconds: float) -> Path:
    """Write noise that swells and fades."""
    random = np.random.default_rng(1)
    with soundfile.SoundFile(str(path), "w", RATE, 1, subtype="PCM_16") as file:
        for start in range(0, int(seconds * RATE), 10 * RATE):
            length = min(10 * RATE, int(seconds * RATE) - start)
            swell = np.sin(np.arange(length) / 4000) ** 2
            file.write(random.normal(0, 0.05, length) * swell)
    return path


def run(*command: str | Path) -> tuple[float, float, int, str]:
    """Seconds that passed, seconds of processors, peak memory in bytes, and standard error."""
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.DEVNULL, stderr=errors
        )
        _, status, used = os.wait4(process.pid, 0)
        taken = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        told = errors.read().decode()
    if process.returncode:
        raise SystemExit(told)
    return taken, used.ru_utime + used.ru_stime, 1024 * used.ru_maxrss, told


def starts(commands: dict[str, list[str | Path]], rounds: int) -> str:
    """A table of whole processes, in turn."""
    found: dict[str, list[tuple[float, float, int, str]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            found[name].append(run(*command))
    rows = []
    for name, runs in found.items():
        passed = [each[0] for each in runs]
        rows.append(
            [
                name,
                f"{min(passed):.2f}",
                f"{statistics.median(passed):.2f}",
                f"{max(passed):.2f}",
                f"{min(each[1] for each in runs):.2f}",
                f"{max(each[2] for each in runs) / 2**20:,.0f}",
            ]
        )
    header = ("process", "fastest s", "median s", "slowest s", "least CPU s", "peak MiB")
    return aligned(header, rows)


def long_ones(model: Path, recordings: list[Path], engines: list[str]) -> str:
    """A table of long recordings."""
    rows = []
    for path in recordings:
        for engine in engines:
            _, cpu, peak, told = run(PARP, "transcribe", model, path, "--engine", engine)
            match = re.search(r"computed in ([\d.,]+) s \(real-time factor ([\d.]+)\)", told)
            assert match, told
            rows.append(
                [path.stem, engine, match[1], match[2], f"{cpu:.1f}", f"{peak / 2**20:,.0f}"]
            )
    header = ("recording", "engine", "computed s", "real-time factor", "CPU s", "peak MiB")
    return aligned(header, rows, left=2)


def main() -> None:
    """Print two tables and the machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--minutes", type=float, nargs="*", default=[1, 10])
    parser.add_argument("--engines", nargs="+", default=["auto", "dense"])
    parser.add_argument(
        "--one-thread",
        action="store_true",
        help="for a machine that others use: the processor time of one thread says most then",
    )
    options = parser.parse_args()
    if options.one_thread:
        os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # In a process of its own: a child's peak memory counts what this one had at its start.
        maker = multiprocessing.get_context("spawn").Process(
            target=make_model, args=(folder, options.sparsity)
        )
        maker.start()
        maker.join()
        model = folder / "model.safetensors"
        short = make_audio(folder / "10 seconds.wav", 10)
        commands: dict[str, list[str | Path]] = {
            "import torch": [sys.executable, "-c", "import torch"]
        }
        for engine in options.engines:
            commands[f"parp transcribe --engine {engine}"] = [
                *(PARP, "transcribe", model, short),
                *("--engine", engine),
            ]
        print(
            f"Ten seconds of audio, base at {options.sparsity:.0%}, from start to end of process:"
        )
        print(starts(commands, options.rounds))
        recordings = [
            make_audio(folder / f"{minutes:g} minutes.wav", 60 * minutes)
            for minutes in options.minutes
        ]
        if recordings:
            print(f"\n{long_ones(model, recordings, options.engines)}")
    from machine import machine

    print(f"\n{options.rounds} rounds, in turn. {machine()}")


if __name__ == "__main__":
    main()
