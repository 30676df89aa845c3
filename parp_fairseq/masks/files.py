"""Masks in files and inside of checkpoints, read under canonical names and compared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from parp_fairseq.checkpoints.file_types import MASK_FORMAT
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, write_bytes
from parp_fairseq.kernels import bits
from parp_fairseq.pruning.mask import Mask
from parp_fairseq.pruning.scope import canonical_name

VERSION = 1

# What a file may raise whose header is JSON, but not of a mask.
_UNREADABLE = (
    SafetensorError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)


def save_mask(mask: Mask, path: PathLike, info: Mapping[str, Any] | None = None) -> None:
    """Write a bit-packed safetensors file, atomically and under canonical names.

    Args:
        mask: the mask.
        path: the file to write.
        info: what else to tell about the mask (method, scope, source…), JSON values.

    Raises:
        UserError: it cannot be written.
    """
    about = {
        "version": VERSION,
        "shapes": {canonical_name(name): list(shape) for name, shape in mask.shapes.items()},
        "info": {"sparsity": mask.sparsity, **(info or {})},
    }
    short = {canonical_name(name): data.cpu() for name, data in mask.packed.items()}
    # One entry alone: safetensors writes several in an order that changes.
    write_bytes(path, save(short, metadata={MASK_FORMAT: json.dumps(about)}))


def load_mask(path: PathLike) -> tuple[Mask, dict[str, Any]]:
    """Read a file written by `save_mask`; return the mask (on the CPU) and its info.

    Raises:
        UserError: the file is missing, truncated or not a mask.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such mask file; check the path")
    try:
        with safe_open(str(path), framework="pt") as handle:
            metadata = handle.metadata() or {}
            if MASK_FORMAT not in metadata:
                raise UserError(
                    f"{path}: a safetensors file, but not a mask; make one with `parp mask`"
                )
            about = json.loads(metadata[MASK_FORMAT])
            if about["version"] != VERSION:
                raise UserError(
                    f"{path}: mask format version {about['version']}, this program reads version "
                    f"{VERSION}; update parp-fairseq"
                )
            shapes = {name: tuple(shape) for name, shape in about["shapes"].items()}
            packed = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
            return Mask.from_bits(packed, shapes), about["info"]
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: not a readable mask file ({reason}); copy or make it again"
        ) from error


def read_mask(path: PathLike) -> tuple[Mask, dict[str, Any]]:
    """Read a mask file and its info, whoever wrote it.

    Raises:
        UserError: the file is missing, truncated, damaged or not a mask.
    """
    mask, info = load_mask(path)
    try:
        return _canonical(mask), dict(info)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{path}: not a readable mask file ({error}); copy or make it again"
        ) from error


def stored_mask(state: Mapping[str, Any]) -> Mask | None:
    """The mask of the subnetwork that a checkpoint of task `parp` holds.

    Args:
        state: what `load_checkpoint` returned.

    Returns:
        None where the checkpoint keeps no mask: another task's, a dense run's, an exported one.
    """
    try:
        pruning = state["last_optimizer_state"]["parp"]
        masks = pruning["masks"]
        packed = masks.get("view", masks["last"])
        return _canonical(Mask.from_bits(packed, pruning["shapes"]))
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def nonzero_mask(tensors: Mapping[str, Tensor]) -> Mask:
    """The mask that keeps what is not zero.

    Args:
        tensors: name → tensor of any shape and precision.
    """
    return Mask({canonical_name(name): tensor != 0 for name, tensor in tensors.items()})


def difference(a: Mask, b: Mask) -> str | None:
    """Say how the tensors that `b` covers differ from those of `a`; None where they agree."""
    ours, theirs = a.shapes, b.shapes
    missing = sorted(set(ours) - set(theirs))
    surplus = sorted(set(theirs) - set(ours))
    if missing:
        return f"has no mask for {missing[0]}"
    if surplus:
        return f"also masks {surplus[0]}"
    for name, shape in ours.items():
        if theirs[name] != shape:
            return f"masks {name} as {theirs[name]} and not as {shape}"
    return None


def both_kept(a: Mask, b: Mask) -> dict[str, int]:
    """Count, for each tensor, the entries that both masks keep.

    Raises:
        ValueError: the masks cover different tensors; the message says which.
    """
    mismatch = difference(a, b)
    if mismatch:
        raise ValueError(mismatch)
    theirs = b.packed
    return {name: bits.count_both(data, theirs[name]) for name, data in a.packed.items()}


def iou_of_counts(counts: Iterable[tuple[int, int, int]]) -> float:
    """IOU (paper, equation 1) over tensors; 1.0 where neither mask keeps anything.

    Args:
        counts: for each tensor the entries kept by both, by one mask, and by the other.
    """
    both = either = 0
    for shared, one, other in counts:
        both += shared
        either += one + other - shared
    return both / either if either else 1.0


def _canonical(mask: Mask) -> Mask:
    """The same mask under canonical names; ValueError where two names become one."""
    names = {name: canonical_name(name) for name in mask}
    if len(set(names.values())) != len(names):
        raise ValueError("a tensor is masked twice")
    packed, shapes = mask.packed, mask.shapes
    return Mask.from_bits(
        {short: packed[name] for name, short in names.items()},
        {short: shapes[name] for name, short in names.items()},
    )
