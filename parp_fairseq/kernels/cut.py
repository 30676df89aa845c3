"""Kernels that prune: zeros by a threshold or by a mask, the mask and its meters in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from parp_fairseq.kernels import bits
from parp_fairseq.kernels.native import Batch, addresses, serving, threads
from parp_fairseq.kernels.words import words


class Bound(NamedTuple):
    """What is pruned of one tensor.

    Every word (magnitude as an integer) below `word`, and of those equal to it the ones at flat
    (row-major) positions below `ties`.
    """

    word: int
    ties: int


@dataclass
class Cuts:
    """What a cut leaves.

    Attributes:
        masks: the packed bits of what is kept, a tensor each; empty unless asked for.
        kept: how many entries of each tensor are kept.
        both: for each of the masks compared with, how many of those it keeps too.
    """

    masks: list[Tensor]
    kept: list[int]
    both: list[int]


def cut(
    tensors: Sequence[Tensor],
    bounds: Sequence[Bound],
    *,
    zero: bool = False,
    pack: bool = False,
    others: Sequence[Sequence[Tensor]] = (),
) -> Cuts:
    """Return what `bounds` keep of `tensors`, and set the rest to zero if asked.

    Args:
        tensors: floating-point tensors of any shapes and types, contiguous or not.
        bounds: one for each.
        zero: set to zero, in place, what is not kept.
        pack: return masks.
        others: at most two lists of packed masks of these tensors, to be compared with.
    """
    run = serving(tensors, "cut")
    flats = [tensor.detach().contiguous() for tensor in tensors]
    masks = [_packed_like(flat) for flat in flats] if pack else []
    counts = np.zeros((len(tensors), 3), np.int64)
    if run is not None:
        chosen = np.array(bounds, np.int64).T.copy()
        packs = [[one.cpu().contiguous() for one in many] for many in (masks, *others, [], [])[:3]]
        pointers = [addresses(many) if many else None for many in packs]
        batch = Batch(flats)
        run(*batch.arguments(), batch.widths, *chosen, zero, *pointers, counts, threads())
    else:
        for i, (flat, bound) in enumerate(zip(flats, bounds)):
            flat = flat.view(-1)
            keep = kept_reference(flat, bound)
            packed = bits.pack(keep)
            if zero:
                flat.masked_fill_(~keep, 0)
            if pack:
                masks[i] = packed
            counts[i, 0] = bits.count(packed)
            for k, other in enumerate(others):
                counts[i, 1 + k] = bits.count_both(packed, other[i].to(packed.device))
    if zero:
        _write_back(tensors, flats)
    both = counts[:, 1 : 1 + len(others)].sum(0)
    return Cuts(masks, counts[:, 0].tolist(), both.tolist())


def kept_reference(flat: Tensor, bound: Bound) -> Tensor:
    """The definition: which entries of a flat tensor on any device a bound keeps (bool)."""
    magnitudes = words(flat)
    keep = magnitudes > bound.word
    keep[bound.ties :] |= magnitudes[bound.ties :] == bound.word
    return keep


def zero_unset(tensors: Sequence[Tensor], masks: Sequence[Tensor]) -> None:
    """Set to zero, in place, what the packed masks of tensors leave unset.

    Args:
        tensors: of any shapes and types, contiguous or not.
        masks: packed bits, one tensor for each, on its device.
    """
    run = serving(tensors, "zero_unset")
    flats = [tensor.detach().contiguous() for tensor in tensors]
    if run is not None:
        batch, packs = Batch(flats), [mask.contiguous() for mask in masks]
        run(*batch.arguments(), batch.widths, addresses(packs), threads())
    else:
        for flat, mask in zip(flats, masks):
            zero_unset_reference(flat, mask)
    _write_back(tensors, flats)


def zero_unset_reference(tensor: Tensor, mask: Tensor) -> None:
    """The definition, for one tensor on any device."""
    tensor.masked_fill_(~bits.unpack(mask, tensor.shape), 0)


def _packed_like(tensor: Tensor) -> Tensor:
    return torch.empty((tensor.numel() + 7) // 8, dtype=torch.uint8, device=tensor.device)


def _write_back(tensors: Sequence[Tensor], flats: Sequence[Tensor]) -> None:
    for tensor, flat in zip(tensors, flats):
        if flat.data_ptr() != tensor.data_ptr():
            tensor.detach().copy_(flat)
        elif not tensor.is_inference():
            # As every operation in place does, so that autograd sees that a weight has changed.
            torch.autograd.graph.increment_version(tensor)
