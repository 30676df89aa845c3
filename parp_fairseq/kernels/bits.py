"""Masks at one bit an entry: packed tensors, eight entries a byte, first entry highest."""

from __future__ import annotations

from torch import Tensor

from parp_fairseq.kernels.library import kernel, threads


def count_both(a: Tensor, b: Tensor) -> int:
    """Count the bits that are set in both of two uint8 tensors of one size, on one device."""
    run = kernel("count_both") if a.device.type == "cpu" else None
    if run is None:
        return count_both_reference(a, b)
    a, b = a.contiguous(), b.contiguous()
    return run(a.data_ptr(), b.data_ptr(), a.numel(), threads())


def count_both_reference(a: Tensor, b: Tensor) -> int:
    """The definition."""
    both = a & b
    return sum(int((both >> bit & 1).sum()) for bit in range(8))
