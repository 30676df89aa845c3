#!/usr/bin/env python3
"""Export a fine-tuned wav2vec 2.0 base with random weights, pruned, and print the files' sizes.

"Must hold": the kept values, one bit for every prunable entry, and all other tensors as they are.
`--quick` tries a small model.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from parp_fairseq.checkpoints.sparse_file import read_sparse
from parp_fairseq.export.fairseq import export_fairseq
from parp_fairseq.export.sparse import export_sparse
from parp_fairseq.manifests.labels.units import ENGLISH_LETTERS
from parp_fairseq.pruning import Scope, magnitude_mask
from parp_fairseq.table import aligned


def checkpoint(sparsity: float, quick: bool) -> dict[str, Any]:
    """A checkpoint's state, at this sparsity."""
    from fairseq import tasks
    from fairseq.data import Dictionary
    from omegaconf import OmegaConf

    torch.manual_seed(1)
    small = {"encoder_layers": 2, "encoder_embed_dim": 384} if quick else {}
    network = {"_name": "wav2vec2", "encoder_layers": 12, "encoder_embed_dim": 768, **small}
    reading = {"data": "", "normalize": False}
    cfg = {
        "common": {"tpu": False, "seed": 1},
        "distributed_training": {"ddp_backend": "legacy_ddp"},
        "task": {"_name": "audio_finetuning", "labels": "ltr", **reading},
        "model": {
            "_name": "wav2vec_ctc",
            "w2v_path": "pretrained.pt",
            **reading,
            "w2v_args": {"model": network, "task": {"_name": "audio_pretraining", **reading}},
        },
    }
    dictionary = Dictionary()
    for symbol, count in ENGLISH_LETTERS:
        dictionary.add_symbol(symbol, n=count)
    root = OmegaConf.create(cfg)
    task = tasks.setup_task(root.task)
    task.load_state_dict({"target_dictionary": dictionary})
    weights = task.build_model(root.model).state_dict()
    prunable = {name: weights[name] for name in Scope().select(weights)}
    for name, kept in magnitude_mask(prunable, sparsity).items():
        weights[name].masked_fill_(~kept, 0.0)
    symbols, counts = zip(*ENGLISH_LETTERS)
    saved = {"parp_symbols": {"symbols": list(symbols), "counts": list(counts)}}
    return {"args": None, "cfg": cfg, "model": dict(weights), "task_state": saved}


def must_hold(weights: dict[str, torch.Tensor], size: int) -> int:
    """Bytes of a subnetwork whose values take `size` bytes each."""
    prunable = Scope().select(weights)
    total = sum(tensor.numel() * size for tensor in weights.values())
    for name in prunable:
        zeros = int((weights[name] == 0).sum())
        total += (weights[name].numel() + 7) // 8 - zeros * size
    return total


def main() -> None:
    """Print a row a sparsity and form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small model")
    parser.add_argument("--sparsity", type=float, nargs="+", default=[0.5, 0.7, 0.9])
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path, stock = Path(folder, "checkpoint.pt"), Path(folder, "stock.pt")
        out = Path(folder, "model.safetensors")
        for sparsity in options.sparsity:
            state = checkpoint(sparsity, options.quick)
            torch.save(state, path)
            written = {"fairseq": (export_fairseq(path, stock, force=True)["bytes"], None)}
            for dtype, width in (("fp16", 2), ("fp32", 4)):
                held = must_hold(state["model"], width)
                size = export_sparse(path, out, dtype=dtype, force=True)["bytes"]
                written[f"sparse {dtype}"] = (size, held)
            read = read_sparse(out)["model"]
            if not all(torch.equal(read[name], state["model"][name]) for name in state["model"]):
                raise SystemExit("the sparse file gives other weights")
            for form, (size, held) in written.items():
                cells = (
                    ("", "") if held is None else (f"{held:,}", f"{100 * (size / held - 1):.2f}%")
                )
                rows.append([form, f"{sparsity:.0%}", f"{size:,}", *cells])
    print(aligned(["format", "sparsity", "bytes", "must hold", "more"], rows))


if __name__ == "__main__":
    main()
