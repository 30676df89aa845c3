#!/usr/bin/env python3
"""Export a fine-tuned wav2vec 2.0 base with random weights, pruned, and print the files' sizes.

    .venv/bin/python scripts/bench/export_sizes.py

"Must hold": the kept values, one bit for every prunable entry, and all other tensors as they are.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch
from random_models import fine_tuned

from parp_fairseq.checkpoints.sparse_file import read_sparse
from parp_fairseq.export.fairseq import export_fairseq
from parp_fairseq.export.sparse_export import export_sparse
from parp_fairseq.pruning import Scope
from parp_fairseq.table import aligned


def must_hold(weights: dict[str, torch.Tensor], size: int) -> int:
    """Bytes of a subnetwork whose values take `size` bytes each."""
    total = sum(tensor.numel() * size for tensor in weights.values())
    for name in Scope().select(weights):
        zeros = int((weights[name] == 0).sum())
        total += (weights[name].numel() + 7) // 8 - zeros * size
    return total


def main() -> None:
    """Print a row a sparsity and format."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="try the script: a small model")
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.5, 0.7, 0.9])
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path, stock = Path(folder, "checkpoint.pt"), Path(folder, "stock.pt")
        out = Path(folder, "model.safetensors")
        for sparsity in options.sparsity:
            weights = fine_tuned(sparsity, options.quick)
            torch.save(weights, path)
            size = export_fairseq(path, stock, force=True)["bytes"]
            rows.append(["fairseq", f"{sparsity:.0%}", f"{size:,}", "", ""])
            for dtype, width in (("fp16", 2), ("fp32", 4)):
                held = must_hold(weights["model"], width)
                size = export_sparse(path, out, dtype=dtype, force=True)["bytes"]
                cells = f"{size:,}", f"{held:,}", f"{100 * (size / held - 1):.2f}%"
                rows.append([f"sparse {dtype}", f"{sparsity:.0%}", *cells])
            read = read_sparse(out)["model"]
            if not all(torch.equal(read[name], kept) for name, kept in weights["model"].items()):
                raise SystemExit("the sparse file gives other weights")
    print(aligned(["format", "sparsity", "bytes", "must hold", "more"], rows))


if __name__ == "__main__":
    main()
