"""Masks at one bit an entry: packed tensors, eight entries a byte, first entry highest."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from parp_fairseq.kernels import native


def pack(keep: Tensor) -> Tensor:
    """Return a bool tensor of n entries as (n + 7) // 8 bytes (uint8) on its device.

    Bits behind the last entry are 0.
    """
    flat = keep.reshape(-1)
    if not native.is_remote(flat):
        return torch.from_numpy(np.packbits(flat.numpy()))
    padded = torch.nn.functional.pad(flat.to(torch.uint8), (0, -flat.numel() % 8))
    return (padded.view(-1, 8) << _shifts(flat.device)).sum(1, dtype=torch.uint8)


def check(bits: Tensor, entries: int) -> None:
    """Raise ValueError unless `bits` are what `pack` returns for so many entries."""
    if entries < 0 or bits.dtype != torch.uint8 or bits.shape != ((entries + 7) // 8,):
        raise ValueError(f"{bits.numel()} bytes do not hold a mask of {entries} entries")
    if entries % 8 and int(bits[-1]) & (0xFF >> entries % 8):
        raise ValueError("bits are set after the last entry")


def unpack(bits: Tensor, shape: Sequence[int]) -> Tensor:
    """Return packed bits as a bool tensor of `shape` on their device."""
    entries = math.prod(shape)
    if not native.is_remote(bits):
        flat = torch.from_numpy(np.unpackbits(bits.numpy(), count=entries).view(np.bool_))
    else:
        flat = ((bits.unsqueeze(1) >> _shifts(bits.device)) & 1).reshape(-1)[:entries].bool()
    return flat.view(tuple(shape))


def count(bits: Tensor) -> int:
    """Count the bits that are set."""
    return count_both(bits, bits)


def count_both(a: Tensor, b: Tensor) -> int:
    """Count the bits that are set in both of two uint8 tensors of one size, on one device."""
    run = None if native.is_remote(a) else native.kernel("count_both")
    if run is None:
        return count_both_reference(a, b)
    a, b = a.contiguous(), b.contiguous()
    return run(a.data_ptr(), b.data_ptr(), a.numel(), native.threads())


def count_both_reference(a: Tensor, b: Tensor) -> int:
    """The definition."""
    both = a & b
    return sum(int((both >> bit & 1).sum()) for bit in range(8))


def _shifts(device: torch.device) -> Tensor:
    return torch.arange(7, -1, -1, dtype=torch.uint8, device=device)
