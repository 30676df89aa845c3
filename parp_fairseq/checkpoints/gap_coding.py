"""Positions of kept entries as Rice-coded gaps: near their entropy, and decoded without a loop.

A gap g is how many entries lie between a kept one and the kept one before it. Its r low bits are
stored as they are; g >> r is stored in unary, as so many zeros and a one. So one bit of the unary
part accounts for at most 2^r entries, and parts of b bytes for at most 2^MAX_LOW · 8 · b.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_LOW = 7
"""The largest r. A greater one saves space only where fewer than one entry in 250 is kept."""


def encode(positions: NDArray[np.int64], entries: int) -> tuple[NDArray, NDArray, int]:
    """Code which of so many entries are kept, given their positions, which rise in [0, entries).

    Returns the gaps' unary parts and low bits as bytes (highest bit first, zeros after the last),
    and r, with which these are fewest.
    """
    gaps = np.diff(positions, prepend=-1) - 1
    sizes = [
        _length(int((gaps >> low).sum()) + len(gaps), low, entries) + low_bytes(len(gaps), low)
        for low in range(MAX_LOW + 1)
    ]
    low = int(np.argmin(sizes))
    ones = np.cumsum((gaps >> low) + 1) - 1
    high = np.zeros(8 * _length(int(ones[-1]) + 1 if len(ones) else 0, low, entries), np.uint8)
    high[ones] = 1
    lows = gaps[:, None] >> np.arange(low)[::-1] & 1
    return np.packbits(high), np.packbits(lows.astype(np.uint8)), low


def decode(
    high: NDArray[np.uint8], lows: NDArray[np.uint8], low: int, kept: int, entries: int
) -> NDArray[np.int64]:
    """Undo `encode`: the positions of `kept` of so many entries. `low` is r.

    Raises ValueError: the bytes are not what `encode` gives for as many.
    """
    ones = np.flatnonzero(np.unpackbits(high).view(np.bool_))
    if len(ones) != kept:
        raise ValueError(f"{kept} values for {len(ones)} entries kept")
    if len(high) != _length(int(ones[-1]) + 1 if kept else 0, low, entries):
        raise ValueError("its gaps have bytes after their end")
    bits = np.unpackbits(lows)
    if len(lows) != low_bytes(kept, low) or bits[kept * low :].any():
        raise ValueError("the low bits of its gaps are too few or too many")
    order = np.arange(kept)
    positions = (ones - order << low) + order
    if low:
        each = np.packbits(bits[: kept * low].reshape(kept, low), axis=1).ravel() >> 8 - low
        positions += np.cumsum(each, dtype=np.int64)
    if kept and positions[-1] >= entries:
        raise ValueError(f"an entry is kept after the last of {entries}")
    return positions


def low_bytes(kept: int, low: int) -> int:
    """Bytes of the low parts of so many gaps."""
    return (kept * low + 7) // 8


def accounts_for(high_bytes: int, low: int) -> int:
    """How many entries unary parts of so many bytes account for at most."""
    return high_bytes * 8 << low


def _length(bits: int, low: int, entries: int) -> int:
    """Bytes of unary parts of so many bits: no fewer than account for all entries."""
    return max((bits + 7) // 8, -(-entries // (8 << low)))
