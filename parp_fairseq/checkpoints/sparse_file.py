"""One safetensors file that holds a subnetwork: what is kept, one bit an entry, and the rest.

A matrix with enough zeros is stored as two: `NAME:mask`, eight entries a byte (the first highest),
and `NAME:kept`, the entries whose bit is set, in row-major order. Every other tensor is stored as
it is. The bit says whether the entry's own bits are all zero, so that a negative zero comes back
too. Settings, dictionary and shapes are one JSON text in the file's metadata.
`docs/sparse-format.md` specifies it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parp_fairseq.checkpoints.dictionary import SYMBOLS_KEY
from parp_fairseq.checkpoints.reading import check_evaluated_strings
from parp_fairseq.checkpoints.sparse_form import (
    DTYPES,
    FORMAT,
    KEPT,
    MASK,
    VERSION,
    NewerVersion,
    Stored,
    check_header,
    check_tensors,
    read_about,
)
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DTYPES", "FORMAT", "VERSION", "is_sparse", "read_sparse", "unpack"]


def unpack(mask: Tensor, kept: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Undo `pack`.

    Raises:
        ValueError: the bits are too few, too many, do not number the entries kept, or go on
            behind the last entry.
    """
    import torch

    from parp_fairseq.kernels import bits

    count = math.prod(shape) if all(side >= 0 for side in shape) else -1
    bits.check(mask, count)
    found = bits.count(mask)
    if kept.dim() != 1 or found != kept.numel():
        raise ValueError(f"{kept.numel()} values for {found} entries kept")
    # Faster than by an index of booleans, which is made one of integers first.
    keep = bits.unpack(mask, (count,))
    tensor = torch.zeros(count, dtype=kept.dtype).masked_scatter_(keep, kept)
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

    Everything that the file says of itself is checked against its size first: no more memory is
    asked for than bits are there.

    Returns:
        {"args": None, "cfg": {"model", "task"}, "model": name → dense tensor, "task_state": the
        dictionary as the task `parp` saves it, "optimizer_history"}. A file of fp16 values gives
        fp32 tensors.

    Raises:
        UserError: missing, truncated, of another kind, or with settings that are code.
    """
    from safetensors import SafetensorError

    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file; give one that `parp export --format sparse` wrote")
    try:
        about, weights = _read(path)
    except PermissionError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); check its rights") from error
    except NewerVersion as error:
        raise UserError(
            f"{path}: sparse format version {error}, this program reads version {VERSION}; update "
            "parp-fairseq"
        ) from error
    except (SafetensorError, ValueError, OSError) as error:
        reason = "".join(c if c.isprintable() else " " for c in str(error))
        reason = " ".join(reason.split())[:160]
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


def _read(path: Path) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    """What a file says about itself, and its tensors."""
    from safetensors import safe_open

    check_header(path)
    with safe_open(str(path), framework="pt") as handle:
        metadata = handle.metadata() or {}
        if FORMAT not in metadata:
            raise UserError(
                f"{path}: a safetensors file, but no sparse model; write one with "
                "`parp export CKPT --format sparse`"
            )
        about = read_about(metadata[FORMAT])
        tensors = {}
        for name in handle.keys():  # noqa: SIM118
            view = handle.get_slice(name)
            tensors[name] = Stored(view.get_dtype(), tuple(view.get_shape()))
        check_tensors(about, tensors)
        packed = about["packed"]
        stored = {
            name: [handle.get_tensor(name + part) for part in (MASK, KEPT)] for name in packed
        }
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            # numpy and torch let other threads run meanwhile.
            dense = pool.map(lambda name: _unpacked(name, stored[name], packed[name]), packed)
            weights = dict(zip(packed, dense))
        parts = {name + part for name in about["packed"] for part in (MASK, KEPT)}
        weights.update((name, handle.get_tensor(name)) for name in sorted(set(tensors) - parts))
    return about, weights


def _unpacked(name: str, parts: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    mask, kept = parts
    try:
        return unpack(mask, kept, tuple(shape))
    except ValueError as error:
        raise ValueError(f"{name!r}: {error}") from error
