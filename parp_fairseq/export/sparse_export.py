"""A subnetwork as one sparse file; `parp_fairseq.checkpoints.sparse_file` describes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parp_fairseq.checkpoints import gap_coding
from parp_fairseq.checkpoints.dictionary import SYMBOLS_KEY, plain_dictionary
from parp_fairseq.checkpoints.fairseq_settings import keep_audio_keys
from parp_fairseq.checkpoints.finetuned import open_finetuned
from parp_fairseq.checkpoints.formats import SPARSE_MODEL, output
from parp_fairseq.checkpoints.sparse_file import FORMAT, HIGH, KEPT, LOW, SCALE, VERSION, read_about
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, check_output

if TYPE_CHECKING:
    from torch import Tensor

# By an entry's bytes, the integers that show its bits.
_INTEGERS = {1: "uint8", 2: "int16", 4: "int32", 8: "int64"}
# What a second entry in the file's header costs at most.
_ENTRY_BYTES = 256
# What stays fp16 in a file of int8: rows of fewer entries, as a scale each costs too much, and the
# projections after the extractor and to the symbols: 0.4 MB of base, and a quarter of all error.
_LONG_ROW = 64
_FINE = ("post_extract_proj.weight", "w2v_encoder.proj.weight")


def export_sparse(
    checkpoint: PathLike,
    out: PathLike,
    *,
    values: str = "fp32",
    force: bool = False,
    sparsity: float | None = None,
) -> dict[str, Any]:
    """Write a fine-tuned checkpoint as a sparse file: of method "nested" with all its levels.

    `values`: "fp32" keeps every value as the checkpoint has it, "fp16" rounds all of them, "int8"
    those of matrices to 255 steps a row and the others to fp16. With `sparsity` it has one level,
    what `open_finetuned` prunes to this. Returns {"format", "out", "bytes", "levels", "entries",
    "zeros"}: the last two of the tensors stored by gaps. UserError where it cannot be exported, a
    value does not fit fp16, or `out` cannot be written.
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

    levels = sorted(source.sparser, reverse=True) if sparsity is None else []
    # By name, how many levels do not keep each entry: the first that does, the sparsest being 0.
    absent = {name: (~_kept(w, values)).byte() for name, w in source.weights.items()}
    for level in levels:
        for name, tensor in open_finetuned(checkpoint, sparsity=level).weights.items():
            absent[name] += ~_kept(tensor, values)
    tensors: dict[str, Tensor] = {}
    packed: dict[str, dict[str, list[int]]] = {}
    entries = zeros = 0
    for name, tensor in source.weights.items():
        tensor = tensor.detach().cpu().contiguous()
        level = absent.pop(name)
        stored, scale = _as_stored(tensor, values, name, source.path)
        if stored.dtype != tensor.dtype and level.any():
            # What is kept stays other than zero, and with it the mask.
            smallest = (tensor.sign() * (2.0**-24 if scale is None else 1)).to(stored.dtype)
            stored = stored.where(stored != 0, smallest)
        parts, lows = _pack(stored, level, len(levels) + 1)
        if scale is not None:
            tensors[name + SCALE] = scale
        if parts is None:
            # A copy: two names must not share memory in a safetensors file.
            tensors[name] = stored.clone()
            continue
        tensors.update((name + part, content) for part, content in parts.items())
        packed[name] = {"shape": list(tensor.shape), "low": lows}
        entries += tensor.numel()
        zeros += tensor.numel() - sum(len(parts[p]) for p in parts if p.endswith(KEPT))
    own = round(zeros / max(entries, 1), 6) if sparsity is None else sparsity
    about = {
        "version": VERSION,
        "dtype": values,
        "levels": [*levels, own],
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
        "levels": about["levels"],
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


def _kept(tensor: Tensor, values: str) -> Tensor:
    """Which entries are not zero: of fp32 values those with any bit, so that -0.0 comes back."""
    import torch

    tensor = tensor.detach().cpu()
    if values == "fp32":
        return tensor.contiguous().view(getattr(torch, _INTEGERS[tensor.element_size()])) != 0
    return tensor != 0


def _as_stored(tensor: Tensor, values: str, name: str, path: Path) -> tuple[Tensor, Tensor | None]:
    """A tensor in the file's type, and what each row's int8 values are multiplied by."""
    import torch

    if values == "fp32" or not tensor.is_floating_point():
        return tensor, None
    coarse = tensor.dim() > 1 and len(tensor) > 1 and not name.endswith(_FINE)
    if values == "int8" and coarse and tensor.numel() >= _LONG_ROW * len(tensor):
        rows = tensor.float().view(len(tensor), -1)
        scale = (rows.abs().amax(1) / 127).clamp_min(torch.finfo(torch.float32).tiny)
        return (rows / scale[:, None]).round().to(torch.int8).view(tensor.shape), scale
    half = tensor.half()
    if not torch.equal(half.isfinite(), tensor.isfinite()):
        raise UserError(
            f"{path}: {name} holds values beyond fp16's 65,504; export it with --values fp32"
        )
    return half, None


def _pack(tensor: Tensor, level: Tensor, levels: int) -> tuple[dict[str, Tensor] | None, list[int]]:
    """The parts of a tensor by the ends of their names, and the low bits of each level's gaps.

    `level` is the first that keeps an entry. No parts for a vector, and where they would not be
    smaller than the tensor, unless levels differ.
    """
    import torch

    of, flat = level.reshape(-1).numpy(), tensor.reshape(-1)
    counts = np.bincount(of, minlength=levels + 1)
    least = _ENTRY_BYTES - int(counts[levels]) * flat.element_size()
    differ = bool(counts[1:levels].any())
    if not differ and (tensor.dim() < 2 or least >= 0):
        return None, []
    parts: dict[str, Tensor] = {}
    lows, among = [], of
    for number in range(levels):
        at = np.flatnonzero(among == number)
        high, low, bits = gap_coding.encode(at, len(among))
        for part, content in ((HIGH, torch.from_numpy(high)), (LOW, torch.from_numpy(low))):
            parts[f":{number}{part}"] = content
            least += len(content)
        parts[f":{number}{KEPT}"] = flat[torch.from_numpy(of == number)]
        lows.append(bits)
        among = np.delete(among, at)
    return (parts, lows) if differ or least < 0 else (None, [])
