"""Random masks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from parp_fairseq.pruning.arguments import check_seed, check_sparsity
from parp_fairseq.pruning.mask import Mask


def random_mask(tensors: Mapping[str, Tensor], sparsity: float, seed: int) -> Mask:
    """Return a mask that prunes entries drawn at random (RP, paper section 2.3).

    Exactly `round(sparsity * d)` of the d entries are pruned. The draw comes from a generator of
    its own on the CPU, so it is the same on every device and changes no other random numbers.

    Args:
        tensors: name → tensor; only names, shapes and devices count.
        sparsity: share of entries to prune, in [0, 1].
        seed: any integer from -2^63 to 2^64 - 1.

    Raises:
        PruningError: sparsity or seed out of range.
    """
    check_sparsity(sparsity)
    check_seed(seed)
    names = sorted(tensors)
    sizes = [tensors[name].numel() for name in names]
    total = sum(sizes)
    generator = torch.Generator().manual_seed(seed)
    dtype = torch.int32 if total < 2**31 else torch.int64
    order = torch.randperm(total, generator=generator, dtype=dtype)
    keep = torch.ones(total, dtype=torch.bool)
    keep[order[: round(sparsity * total)].long()] = False
    return Mask(
        {
            name: part.view(tensors[name].shape).clone().to(tensors[name].device)
            for name, part in zip(names, keep.split(sizes))
        }
    )
