"""One safetensors file that holds a subnetwork: what is kept, one bit an entry, and the rest.

A matrix with enough zeros is stored as two: `NAME:mask`, eight entries a byte (the first highest),
and `NAME:kept`, the entries whose bit is set, in row-major order. Every other tensor is stored as
it is. The bit says whether the entry's own bits are all zero, so that a negative zero comes back
too. Settings, dictionary and shapes are one JSON text in the file's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parp_fairseq.checkpoints.dictionary import SYMBOLS_KEY
from parp_fairseq.checkpoints.reading import check_evaluated_strings
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "parp-sparse"
VERSION = 1
DTYPES = ("fp32", "fp16")


def unpack(mask: Tensor, kept: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Undo `pack`.

    Raises:
        ValueError: the bits are too few, too many, or do not number the entries kept.
    """
    import numpy as np
    import torch

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
                mask, kept = (handle.get_tensor(f"{name}:{part}") for part in ("mask", "kept"))
                weights[name] = unpack(mask, kept, tuple(int(side) for side in shape))
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


def _check_form(about: Mapping[str, Any]) -> None:
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
