"""Mask files, and what checkpoints keep of a pruning: their mask, and θ behind m⊙θ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from parp_fairseq.checkpoints.formats import MASK_FORMAT
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, write_bytes
from parp_fairseq.pruning.mask import Mask
from parp_fairseq.pruning.pruner import saved_mask
from parp_fairseq.pruning.scope import canonical_name
from parp_fairseq.pruning.weights import fill_

VERSION = 1

# What a file may raise whose header is JSON, but not of a mask.
_UNREADABLE = (
    *(SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError),
    *(OverflowError, RecursionError),
)


def save_mask(mask: Mask, path: PathLike, info: Mapping[str, Any] | None = None) -> None:
    """Write a bit-packed safetensors file, atomically and under canonical names.

    `info` is what else is known about the mask (method, scope, source…), JSON values. Raises
    UserError where the file cannot be written.
    """
    mask = mask.canonical()
    about = {
        "version": VERSION,
        "shapes": {name: list(shape) for name, shape in mask.shapes.items()},
        "info": {"sparsity": mask.sparsity, **(info or {})},
    }
    packed = {name: data.cpu() for name, data in mask.packed.items()}
    # Only one entry: safetensors writes several in an order that changes.
    write_bytes(path, save(packed, metadata={MASK_FORMAT: json.dumps(about)}))


def load_mask(path: PathLike) -> tuple[Mask, dict[str, Any]]:
    """Read a mask file; return the mask (on the CPU, under canonical names) and its info.

    Raises UserError: the file is missing, truncated, damaged or not a mask.
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
            return Mask.from_bits(packed, shapes).canonical(), dict(about["info"])
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: not a readable mask file ({reason}); copy or make it again"
        ) from error


def stored_mask(state: Mapping[str, Any]) -> Mask | None:
    """The mask of the subnetwork that a checkpoint of task `parp` holds.

    None where it keeps no mask: another task's, a dense run's, an exported one.
    """
    try:
        return saved_mask(state["last_optimizer_state"]["parp"]).canonical()
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def nonzero_mask(tensors: Mapping[str, Tensor]) -> Mask:
    """The mask that keeps what is not zero of tensors of any shape and precision."""
    return Mask({canonical_name(name): tensor != 0 for name, tensor in tensors.items()})


def dense_weights(state: Mapping[str, Any], path: PathLike) -> dict[str, Tensor]:
    """Return the model's weights θ before the mask was applied, bit by bit.

    A checkpoint of task `parp` (`state`, of the file `path`) holds m⊙θ as its model, and the values
    of θ that m prunes next to the optimizer's state; right after a pruning, and under a static
    mask, there are none. In half precision these are the model's own weights, rounded from the
    masters. UserError where it keeps no pruning state (a dense run, an export, another task), or
    one that does not fit its model.
    """
    model: dict[str, Tensor] = dict(state["model"])
    pruning = (state.get("last_optimizer_state") or {}).get("parp")
    if not isinstance(pruning, Mapping) or not {"masks", "shapes", "shadow"} <= set(pruning):
        raise UserError(
            f"{path} keeps no pruning state, so the values that it prunes are not in it; give a "
            "checkpoint that a pruning run of task parp wrote, not an export"
        )
    try:
        mask = saved_mask(pruning)
        for name, values in pruning["shadow"].items():
            model[name] = model[name].clone()
            fill_(model[name], ~mask[name], values)
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: its pruning state does not fit its model ({reason}); give the checkpoint as "
            "training wrote it"
        ) from error
    return model
