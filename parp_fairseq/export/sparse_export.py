"""A subnetwork as one sparse file; `parp_fairseq.checkpoints.sparse_file` describes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parp_fairseq.checkpoints.dictionary import SYMBOLS_KEY, plain_dictionary
from parp_fairseq.checkpoints.fairseq_settings import keep_audio_keys
from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.checkpoints.formats import SPARSE_MODEL, output
from parp_fairseq.checkpoints.sparse_file import (
    FORMAT,
    KEPT,
    MASK,
    VERSION,
    pack,
    read_about,
)
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, check_output

if TYPE_CHECKING:
    from torch import Tensor


def export_sparse(
    checkpoint: PathLike,
    out: PathLike,
    *,
    dtype: str = "fp32",
    force: bool = False,
    sparsity: float | None = None,
) -> dict[str, Any]:
    """Write a fine-tuned checkpoint as a sparse file.

    Args:
        checkpoint: what `open_finetuned` reads, pruned to `sparsity` first if that is given.
        out: the file to write; `force` replaces a sparse model that already exists.
        dtype: "fp32" keeps every value as the checkpoint has it; "fp16" rounds all of them.

    Returns:
        {"format", "out", "bytes", "entries", "zeros"}: the file's size, and the entries of the
        tensors stored with a mask and how many of those are zero.

    Raises:
        UserError: the checkpoint cannot be exported, a value does not fit fp16, or `out` cannot
            be written.
    """
    out = check_output(out, SPARSE_MODEL, inputs=[checkpoint], force=force)
    source = open_finetuned(checkpoint, sparsity=sparsity)

    from safetensors.torch import save

    settings = source.complete_settings()
    cfg = {key: settings[key] for key in ("model", "task")}
    keep_audio_keys(cfg["task"], "prune")
    w2v_args = cfg["model"]["w2v_args"]
    keep_audio_keys(w2v_args["task"])
    cfg["model"]["w2v_args"] = {key: w2v_args[key] for key in ("model", "task")}

    tensors: dict[str, Tensor] = {}
    packed: dict[str, list[int]] = {}
    entries = zeros = 0
    for name, tensor in source.weights.items():
        tensor = tensor.detach().cpu().contiguous()
        if dtype == "fp16" and tensor.is_floating_point():
            tensor = _rounded(tensor, name, source.path)
        parts = pack(tensor)
        if parts is None:
            # A copy: two names must not share memory in a safetensors file.
            tensors[name] = tensor.clone()
            continue
        tensors[name + MASK], tensors[name + KEPT] = parts
        packed[name] = list(tensor.shape)
        entries += tensor.numel()
        zeros += tensor.numel() - parts[1].numel()
    about = {
        "version": VERSION,
        "dtype": dtype,
        "packed": packed,
        "updates": source.updates,
        "cfg": cfg,
        SYMBOLS_KEY: plain_dictionary(source.dictionary),
    }
    with output(out) as stage:
        # One entry only: safetensors writes several in an order that changes.
        metadata = {FORMAT: _as_text(about, source.path)}
        # Written by Python, whose error says why; safetensors' own file only its owner can read.
        (stage / out.name).write_bytes(save(tensors, metadata=metadata))
    return {
        "format": "sparse",
        "out": str(out),
        "bytes": out.stat().st_size,
        "entries": entries,
        "zeros": zeros,
    }


def _as_text(about: dict[str, Any], path: Path) -> str:
    try:
        text = json.dumps(about, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        read_about(text, path)
    except (TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(
            f"{path}: a sparse file cannot hold its settings ({reason}); use --format fairseq"
        ) from error
    return text


def _rounded(tensor: Tensor, name: str, path: Path) -> Tensor:
    import torch

    half = tensor.half()
    if not torch.equal(half.isfinite(), tensor.isfinite()):
        raise UserError(
            f"{path}: {name} holds values beyond fp16's 65,504; export it with --dtype fp32"
        )
    return half
