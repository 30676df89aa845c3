"""Exact selection of the smallest magnitudes (UMP, paper section 2.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from parp_fairseq.errors import UserError
from parp_fairseq.pruning.mask import Mask

GRANULARITIES = ("global", "tensor")


class Selection(NamedTuple):
    """A mask and the largest magnitude that it prunes (0.0 where it prunes nothing)."""

    mask: Mask
    threshold: float


def magnitude_mask(
    tensors: Mapping[str, Tensor], sparsity: float, granularity: str = "global"
) -> Mask:
    """Return the mask that prunes the entries of smallest magnitude.

    Of d entries exactly `round(sparsity * d)` are pruned, counted over all tensors ("global") or
    over each ("tensor"). Entries of equal magnitude are pruned in the order of names (sorted as
    strings), then of positions (row-major), so the result is the same on every device and rank.

    Args:
        tensors: name → floating-point tensor of any shape.
        sparsity: share of entries to prune, in [0, 1].
        granularity: "global" or "tensor".

    Raises:
        UserError: sparsity out of range, unknown granularity, NaN or infinity (named).
    """
    return select_smallest(tensors, sparsity, granularity).mask


def select_smallest(
    tensors: Mapping[str, Tensor], sparsity: float, granularity: str = "global"
) -> Selection:
    """Like `magnitude_mask`, and tell the threshold too (for "tensor": the largest one)."""
    check_sparsity(sparsity)
    check_granularity(granularity)
    names = sorted(tensors)
    groups = [names] if granularity == "global" else [[name] for name in names]
    keep: dict[str, Tensor] = {}
    threshold = 0.0
    for group in groups:
        pruned, bound = _prune_group({name: tensors[name] for name in group}, sparsity)
        keep.update(pruned)
        threshold = max(threshold, bound)
    return Selection(Mask(keep), threshold)


def check_sparsity(sparsity: float, key: str = "task.prune.sparsity") -> None:
    """Raise UserError unless `sparsity` lies in [0, 1]; `key` is the option named in the error."""
    if not 0.0 <= sparsity <= 1.0:
        raise UserError(f"{key} is {sparsity}; it is a fraction between 0 and 1 (90% is 0.9)")


def check_granularity(granularity: str) -> None:
    """Raise UserError unless `granularity` is one of GRANULARITIES."""
    if granularity not in GRANULARITIES:
        raise UserError(
            f"task.prune.granularity is {granularity!r}; use {' or '.join(GRANULARITIES)}"
        )


def _prune_group(tensors: dict[str, Tensor], sparsity: float) -> tuple[dict[str, Tensor], float]:
    magnitudes = {name: tensor.detach().abs() for name, tensor in tensors.items()}
    for name, magnitude in magnitudes.items():
        if not bool(torch.isfinite(magnitude).all()):
            raise UserError(f"{name} holds NaN or infinity; its magnitudes cannot be ranked")
    total = sum(magnitude.numel() for magnitude in magnitudes.values())
    count = round(sparsity * total)
    if count == 0:
        return {name: torch.ones_like(m, dtype=torch.bool) for name, m in magnitudes.items()}, 0.0
    # float32 holds every half-precision number, so nothing is rounded here.
    widest = torch.float64 if _any_double(magnitudes) else torch.float32
    flat = torch.cat([magnitude.reshape(-1).to(widest) for magnitude in magnitudes.values()])
    threshold = flat.kthvalue(count).values
    keep = flat > threshold
    # Of the entries at the threshold, the first ones in order go; the others stay.
    at = (flat == threshold).nonzero().squeeze(1)
    surplus = at.numel() + int(keep.sum()) - (total - count)
    keep[at[surplus:]] = True
    parts = keep.split([magnitude.numel() for magnitude in magnitudes.values()])
    shaped = zip(magnitudes.items(), parts)
    return {name: part.view(m.shape).clone() for (name, m), part in shaped}, float(threshold)


def _any_double(tensors: Mapping[str, Tensor]) -> bool:
    return any(tensor.dtype == torch.float64 for tensor in tensors.values())
