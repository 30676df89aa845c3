"""Many tensors for one call of a kernel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from parp_fairseq.kernels.native import Kernel, kernel

# Entries that a thread takes at a time: a multiple of 64, for kernels work on 64 at a time.
TILE = 1 << 16


class Batch:
    """Addresses of contiguous CPU tensors, where each starts when all are laid end to end, and how
    they are cut into tiles (csrc/words.h)."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = list(tensors)  # kept, for the addresses are theirs
        self.pointers = addresses(self.tensors)
        sizes = [tensor.numel() for tensor in tensors]
        self.starts = _sums(sizes)
        self.tiles = _sums(-(-size // TILE) for size in sizes)
        self.widths = np.array([tensor.element_size() for tensor in tensors], np.int64)

    def arguments(self) -> tuple[object, ...]:
        """What every kernel over several arrays begins with."""
        return self.pointers, self.starts, self.tiles, len(self.tensors), TILE


def addresses(tensors: Sequence[Tensor]) -> np.ndarray:
    """The addresses of CPU tensors as an array of pointers."""
    return np.array([tensor.data_ptr() for tensor in tensors], np.uint64)


def serving(tensors: Sequence[Tensor], name: str) -> Kernel | None:
    """The kernel `name`; None where the reference is to be used: nothing compiled, or a GPU.

    With tensors on a GPU the kernel is not looked up, so no line says that it is missing.
    """
    return None if not tensors or any(map(is_remote, tensors)) else kernel(name)


def is_remote(tensor: Tensor) -> bool:
    """Whether a tensor is where kernels do not reach: on a GPU."""
    return tensor.device.type != "cpu"


def _sums(sizes) -> np.ndarray:
    return np.cumsum([0, *sizes], dtype=np.int64)
