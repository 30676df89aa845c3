"""One safetensors file that holds a subnetwork: what is kept, one bit an entry, and the rest.

A matrix with enough zeros is stored as two: `NAME:mask`, eight entries a byte (the first highest),
and `NAME:kept`, the entries whose bit is set, in row-major order. Every other tensor is stored as
it is. The bit says whether the entry's own bits are all zero, so that a negative zero comes back
too. Settings, dictionary and shapes are one JSON text in the file's metadata.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

import numpy as np
import torch
from torch import Tensor

from parp_fairseq.errors import UserError

PathLike = Union[str, "os.PathLike[str]"]

FORMAT = "parp-sparse"
VERSION = 1
DTYPES = ("fp32", "fp16")
ENGINES = ("dense", "csr")

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# What a second entry in the file's header costs at most.
_ENTRY_BYTES = 256


@dataclass(frozen=True)
class SparseModel:
    """A subnetwork read back.

    Attributes:
        model: fairseq's `Wav2VecCtc`, in evaluation mode, on the CPU.
        cfg: its settings, with the sections `model` and `task`.
        dictionary: fairseq's `Dictionary` that numbers its head.
        csr: names of the linears that run as sparse matrices (engine "csr").
    """

    model: Any = field(repr=False)
    cfg: dict[str, Any] = field(repr=False)
    dictionary: Any = field(repr=False)
    csr: tuple[str, ...] = ()


def export_sparse(checkpoint: PathLike, out: PathLike, *, dtype: str = "fp32") -> dict[str, Any]:
    """Write a fine-tuned checkpoint as a sparse file.

    Args:
        checkpoint: a fine-tuned CTC checkpoint.
        out: the file to write; it appears whole or not at all.
        dtype: "fp32" keeps every value as the checkpoint has it; "fp16" rounds all of them.

    Returns:
        {"format", "out", "bytes", "entries", "zeros"}: the file's size, and the entries of the
        tensors stored with a mask and how many of those are zero.

    Raises:
        UserError: the checkpoint cannot be exported, a value does not fit fp16, or `out` cannot
            be written.
    """
    from safetensors.torch import save

    from parp_fairseq.checkpoints.settings import keep_audio_keys
    from parp_fairseq.checkpoints.source import SYMBOLS_KEY, open_source, output, plain_dictionary

    if dtype not in DTYPES:
        raise UserError(f"dtype is {dtype!r}; use one of {', '.join(DTYPES)}")
    source = open_source(checkpoint)
    cfg = {key: source.settings[key] for key in ("model", "task")}
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
        tensors[f"{name}:mask"], tensors[f"{name}:kept"] = parts
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
    out = Path(out)
    with output(out) as stage:
        # One entry alone: safetensors writes several in an order that changes.
        metadata = {FORMAT: json.dumps(about, ensure_ascii=False, separators=(",", ":"))}
        # Written by Python, whose error tells why; safetensors' own file only its owner can read.
        (stage / out.name).write_bytes(save(tensors, metadata=metadata))
    return {
        "format": "sparse",
        "out": str(out),
        "bytes": out.stat().st_size,
        "entries": entries,
        "zeros": zeros,
    }


def pack(tensor: Tensor) -> tuple[Tensor, Tensor] | None:
    """A matrix's bits (uint8, eight entries a byte) and the entries that are kept.

    None for a vector, and where the tensor itself is not longer.

    >>> mask, kept = pack((torch.arange(4096.0) * (torch.arange(4096) % 4 == 3)).view(64, 64))
    >>> mask[0].item(), kept[:2].tolist()
    (17, [3.0, 7.0])
    """
    if tensor.dim() < 2:
        return None
    flat = tensor.reshape(-1)
    bits = (flat.view(_INTEGERS[flat.element_size()]) != 0).numpy()
    size = flat.element_size()
    smaller = (flat.numel() + 7) // 8 + int(bits.sum()) * size + _ENTRY_BYTES
    if smaller >= flat.numel() * size:
        return None
    return torch.from_numpy(np.packbits(bits)), flat[torch.from_numpy(bits)]


def unpack(mask: Tensor, kept: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Undo `pack`.

    Raises:
        ValueError: the bits are too few, too many, or do not number the entries kept.
    """
    count = int(np.prod(shape, dtype=object)) if all(side >= 0 for side in shape) else -1
    if mask.dtype != torch.uint8 or mask.dim() != 1 or mask.numel() != (count + 7) // 8:
        raise ValueError(f"{mask.numel()} bytes do not hold a mask of {list(shape)}")
    bits = torch.from_numpy(np.unpackbits(mask.numpy(), count=count).astype(bool))
    if kept.dim() != 1 or int(bits.sum()) != kept.numel():
        raise ValueError(f"{kept.numel()} values for {int(bits.sum())} entries kept")
    tensor = torch.zeros(count, dtype=kept.dtype)
    tensor[bits] = kept
    return tensor.view(shape)


def is_sparse(path: PathLike) -> bool:
    """Whether a file begins as a safetensors file does; `read_sparse` tells if it is not ours."""
    try:
        with open(path, "rb") as handle:
            start = handle.read(9)
    except OSError:
        return False
    # The length of the header, then its JSON.
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < 2**32


def read_sparse(path: PathLike) -> dict[str, Any]:
    """Read a sparse file into the form that `load_checkpoint` gives.

    Returns:
        {"args": None, "cfg": {"model", "task"}, "model": name → dense tensor, "task_state": the
        dictionary as the task `parp` saves it, "optimizer_history"}. A file of fp16 values gives
        fp32 tensors.

    Raises:
        UserError: missing, truncated, of another kind, or with settings that are code.
    """
    from safetensors import SafetensorError, safe_open

    from parp_fairseq.checkpoints.reading import check_evaluated_strings
    from parp_fairseq.checkpoints.source import SYMBOLS_KEY

    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; give one that `parp export --format sparse` wrote")
    try:
        with safe_open(str(path), framework="pt") as handle:
            metadata = handle.metadata() or {}
            if FORMAT not in metadata:
                raise UserError(
                    f"{path}: a safetensors file, but no sparse model; write one with "
                    "`parp export CKPT --format sparse`"
                )
            about = json.loads(metadata[FORMAT])
            if about["version"] != VERSION:
                raise UserError(
                    f"{path}: sparse format version {about['version']}, this program reads version "
                    f"{VERSION}; update parp-fairseq"
                )
            names = set(handle.keys())
            weights = {}
            for name, shape in about["packed"].items():
                parts = [handle.get_tensor(f"{name}:{part}") for part in ("mask", "kept")]
                weights[name] = unpack(*parts, tuple(int(side) for side in shape))
                names -= {f"{name}:mask", f"{name}:kept"}
            weights.update((name, handle.get_tensor(name)) for name in sorted(names))
        _check_form(about)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        reason = str(error).strip().split("\n")[0][:160]
        raise UserError(f"{path}: not a readable sparse model ({reason}); copy it again") from error
    state = {
        "args": None,
        "cfg": about["cfg"],
        "model": weights,
        "task_state": {SYMBOLS_KEY: about[SYMBOLS_KEY]},
        "optimizer_history": [{"num_updates": about["updates"]}],
    }
    check_evaluated_strings(path, state)
    if about["dtype"] == "fp16":
        state["model"] = {
            name: tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in weights.items()
        }
    return state


def load_sparse(path: PathLike, engine: str = "dense") -> SparseModel:
    """Read a sparse file and build its model.

    Args:
        path: a file that `export_sparse` wrote.
        engine: "dense" multiplies by the zeros too; "csr" measures every large linear once and
            runs it as a sparse matrix where that is faster (outputs then differ by rounding).

    Raises:
        UserError: the file cannot be read, its model cannot be built, or an unknown engine.
    """
    from parp_fairseq.checkpoints.source import open_source
    from parp_fairseq.evaluation.load import FineTuned, build_model, build_task

    if engine not in ENGINES:
        raise UserError(f"engine is {engine!r}; use one of {', '.join(ENGINES)}")
    path = Path(path)
    if not is_sparse(path):
        raise UserError(f"{path} is no sparse file; write one with `parp export --format sparse`")
    source = open_source(path)
    state = {"args": None, "cfg": source.settings, "model": source.weights}
    finetuned = FineTuned(path, source.info, state, source.labels, source.dictionary)
    # fairseq asks for a folder of data, and reads nothing in it here.
    model = build_model(finetuned, build_task(finetuned, path.parent))
    chosen: tuple[str, ...] = ()
    if engine == "csr":
        from parp_fairseq.engine.csr import use_csr

        chosen = use_csr(model)
    return SparseModel(model, source.settings, source.dictionary, chosen)


def _rounded(tensor: Tensor, name: str, path: Path) -> Tensor:
    half = tensor.half()
    if not torch.equal(half.isfinite(), tensor.isfinite()):
        raise UserError(
            f"{path}: {name} holds values beyond fp16's 65,504; export it with --dtype fp32"
        )
    return half


def _check_form(about: Mapping[str, Any]) -> None:
    from parp_fairseq.checkpoints.source import SYMBOLS_KEY

    for section in ("model", "task"):
        if not isinstance(about["cfg"][section], dict):
            raise TypeError(f"cfg.{section} is no mapping")
    lists = about[SYMBOLS_KEY]
    if not all(isinstance(symbol, str) for symbol in lists["symbols"]) or not all(
        isinstance(count, int) for count in lists["counts"]
    ):
        raise TypeError("its dictionary is no list of symbols and counts")
    if len(lists["symbols"]) != len(lists["counts"]) or not isinstance(about["updates"], int):
        raise ValueError("its dictionary or updates are damaged")
    if about["dtype"] not in DTYPES:
        raise ValueError(f"its dtype is {about['dtype']!r}")
