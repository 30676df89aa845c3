"""The kernel that ranks magnitudes: it counts and collects what is inside a bracket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from parp_fairseq.kernels.native import Batch, serving, threads
from parp_fairseq.kernels.words import infinity, words


@dataclass
class Bracketed:
    """What a scan finds.

    Attributes:
        below: for each array, how many words are less than the bracket's lower end.
        inside: for each array, how many lie inside.
        infinite: for each array, whether it holds NaN or infinity.
        words: those inside, in any order; fewer than `inside` counts where there was no room.
        positions: where they are, counted over all arrays.
    """

    below: np.ndarray
    inside: np.ndarray
    infinite: np.ndarray
    words: np.ndarray
    positions: np.ndarray

    @property
    def complete(self) -> bool:
        """Whether all that is inside was collected."""
        return self.words.size == int(self.inside.sum())


def scan(arrays: Sequence[Tensor], low: int, high: int, room: int) -> Bracketed:
    """Count words below `low`, collect those in [low, high), and look for NaN and infinity.

    Args:
        arrays: contiguous floating-point tensors of one type.
        low: a word, at least 0.
        high: a word, at most that of infinity.
        room: how many may be collected.
    """
    run = serving(arrays, "scan")
    if run is None:
        return _scanned(arrays, low, high, room)
    width = arrays[0].element_size()
    # Memory that is not written to is not taken.
    near, at = np.empty(room, f"i{width}"), np.empty(room, np.int64)
    counts = np.zeros((3, len(arrays)), np.int64)
    bracket = low, high, infinity(arrays[0].dtype)
    batch = Batch(arrays)
    used = run(*batch.arguments(), width, *bracket, room, near, at, *counts, threads())
    used = min(used, room)
    return Bracketed(*counts, near[:used], at[:used])


def _scanned(arrays: Sequence[Tensor], low: int, high: int, room: int) -> Bracketed:
    """The same by the definition."""
    counts = np.zeros((3, len(arrays)), np.int64)
    parts = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    start = collected = 0
    for i, array in enumerate(arrays):
        *counts[:, i], near, at = scan_reference(array, low, high)
        if collected + near.numel() <= room:
            collected += near.numel()
            parts.append((near.cpu().numpy(), at.cpu().numpy() + start))
        start += array.numel()
    return Bracketed(*counts, *map(np.concatenate, zip(*parts)))


def scan_reference(array: Tensor, low: int, high: int) -> tuple[int, int, bool, Tensor, Tensor]:
    """The definition, for one array on any device: what Bracketed has."""
    magnitudes = words(array)
    at = ((low <= magnitudes) & (magnitudes < high)).nonzero().view(-1)
    infinite = bool((magnitudes >= infinity(array.dtype)).any())
    return int((magnitudes < low).sum()), at.numel(), infinite, magnitudes[at], at
