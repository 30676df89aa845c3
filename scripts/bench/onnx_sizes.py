#!/usr/bin/env python3
"""Export a wav2vec 2.0 base with random weights, pruned, to ONNX: its sizes, and how fast it runs.

    python scripts/bench/onnx_sizes.py [--quick]

The network is that of `export_sizes.py`. A run is 10 s of noise, the median of five, in turns with
the others; outputs are compared by the export itself.
"""

from __future__ import annotations

import argparse
import gzip
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import onnxruntime
import torch
from export_sizes import checkpoint

from parp_fairseq.export.onnx import export_onnx
from parp_fairseq.export.sparse import export_sparse
from parp_fairseq.table import aligned

SPARSITIES = (0.0, 0.5, 0.7, 0.9)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small model")
    quick = parser.parse_args().quick
    rows, sessions = [], []
    with tempfile.TemporaryDirectory() as folder:
        for sparsity in SPARSITIES:
            saved, out = Path(folder, "c.pt"), Path(folder, f"{sparsity}")
            torch.save(checkpoint(sparsity, quick), saved)
            done = export_onnx(saved, out)
            sparse = export_sparse(saved, Path(folder, "s.safetensors"), force=True)["bytes"]
            content = (out / "model.onnx").read_bytes()
            rows.append([sparsity, len(content), len(gzip.compress(content, 6)), sparse])
            rows[-1].append(done["difference"])
            sessions.append(
                onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
            )
    noise = (0.1 * np.random.default_rng(1).normal(size=(1, 160_000))).astype(np.float32)
    inputs = {"input_values": noise, "input_lengths": np.array([160_000])}
    times: list[list[float]] = [[] for _ in sessions]
    for _ in range(6):
        for session, taken in zip(sessions, times):
            start = time.perf_counter()
            session.run(["logprobs"], inputs)
            taken.append(time.perf_counter() - start)
    cells = [
        [
            f"{s:.0%}",
            f"{a:,}",
            f"{b:,}",
            f"{c:,}",
            f"{d:.1e}",
            f"{1e3 * statistics.median(t[1:]):,.0f}",
        ]
        for (s, a, b, c, d), t in zip(rows, times)
    ]
    header = ["sparsity", "onnx", "onnx, gzip", "sparse", "difference", "10 s, ms"]
    print(aligned(header, cells, left=0))
    print(
        f"\n{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
        f"onnxruntime {onnxruntime.__version__}, torch {torch.__version__}"
    )


if __name__ == "__main__":
    main()
