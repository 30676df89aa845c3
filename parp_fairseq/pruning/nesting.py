"""Masks that only ever prune more (gradual magnitude pruning)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from parp_fairseq.pruning.mask import Mask


def nested(
    mask: Mask, before: Mask, tensors: Mapping[str, Tensor], granularity: str = "global"
) -> Mask:
    """Return `mask` with what `before` pruned going first where zeros tie.

    What is pruned is zero, and zeros are the smallest magnitudes: a magnitude mask prunes them
    again. But entries that are kept may be zero too, and come before pruned ones in the order of
    names and positions. Counts stay as they are, over all tensors ("global") or in each ("tensor").

    Args:
        mask: the magnitude mask of `tensors`.
        before: the mask of the pruning before; all that it prunes is zero in `tensors`.
        tensors: name → tensor, before or after `mask` was applied.
        granularity: "global" or "tensor".
    """
    groups = [list(mask)] if granularity == "global" else [[name] for name in mask]
    keep: dict[str, Tensor] = {}
    for group in groups:
        if any(bool((mask[name] & ~before[name]).any()) for name in group):
            # Something regrew, so there are more zeros than are pruned.
            keep.update(_first_zeros_pruned(group, mask, before, tensors))
    return Mask({name: keep.get(name, mask[name]) for name in mask}) if keep else mask


def _first_zeros_pruned(
    group: Sequence[str], mask: Mask, before: Mask, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    left = sum(tensors[name].numel() - mask.kept_in(name) for name in group)
    keep = {name: torch.ones_like(mask[name]) for name in group}
    for kept_before in (False, True):
        for name in group:
            zeros = (tensors[name].detach() == 0) & (before[name] == kept_before)
            taken = zeros & (zeros.flatten().cumsum(0).view(zeros.shape) <= left)
            keep[name] &= ~taken
            left -= int(taken.sum())
    return keep
