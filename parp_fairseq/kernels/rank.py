"""The kernel that ranks magnitudes: it counts and collects what is inside a bracket."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from parp_fairseq.kernels.batch import Batch, split
from parp_fairseq.kernels.native import threads
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
    run, served, left = split(arrays, "scan")
    count = len(arrays)
    below, inside, infinite = (np.zeros(count, np.int64) for _ in range(3))
    starts = np.cumsum([0, *(array.numel() for array in arrays)], dtype=np.int64)
    parts = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    if served:
        batch = Batch([arrays[i] for i in served])
        width = arrays[served[0]].element_size()
        # Memory that is not written to is not taken.
        near, at = np.empty(room, f"i{width}"), np.empty(room, np.int64)
        counts = np.zeros((3, len(served)), np.int64)
        used = run(
            *batch.arguments(),
            width,
            low,
            high,
            infinity(arrays[0].dtype),
            room,
            near,
            at,
            *counts,
            threads(),
        )
        below[served], inside[served], infinite[served] = counts
        near, at = near[: min(used, room)], at[: min(used, room)]
        if left:
            # Positions over the arrays served become positions over all.
            owner = np.searchsorted(batch.starts, at, side="right") - 1
            at = at + (starts[served] - batch.starts[:-1])[owner]
        parts.append((near, at))
    for i in left:
        below[i], inside[i], infinite[i], near, at = scan_reference(arrays[i], low, high)
        if sum(part.size for part, _ in parts) + near.numel() <= room:
            parts.append((near.cpu().numpy(), at.cpu().numpy() + starts[i]))
    collected = parts[-1] if len(parts) == 2 else tuple(map(np.concatenate, zip(*parts)))
    return Bracketed(below, inside, infinite, *collected)


def scan_reference(array: Tensor, low: int, high: int) -> tuple[int, int, bool, Tensor, Tensor]:
    """The definition, for one array on any device: what Bracketed has."""
    magnitudes = words(array)
    at = ((low <= magnitudes) & (magnitudes < high)).nonzero().view(-1)
    infinite = bool((magnitudes >= infinity(array.dtype)).any())
    return int((magnitudes < low).sum()), at.numel(), infinite, magnitudes[at], at
