"""Work on many entries in pieces that fit a core's cache, on as many cores as torch uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")
Block = tuple[int, int, int]

# Entries in a block: a multiple of 8, so that its bits begin at a byte.
BLOCK = 1 << 17


def each_block(sizes: Sequence[int], work: Callable[[list[Block]], T]) -> list[T]:
    """Call `work` on lists of blocks (array, start, stop) that together cover all arrays.

    `work` is called in several threads, so it should spend its time in numpy, which lets go of
    Python's lock.

    Args:
        sizes: number of entries in each array.
        work: takes a list of blocks, in order.

    Returns:
        What `work` returned, in the order of blocks.
    """
    blocks = [
        (index, start, min(start + BLOCK, size))
        for index, size in enumerate(sizes)
        for start in range(0, size, BLOCK)
    ]
    workers = min(torch.get_num_threads(), len(blocks))
    if workers <= 1:
        return [work(blocks)] if blocks else []
    # Several parts a thread: one that shares its core with another program holds up less.
    parts = min(4 * workers, len(blocks))
    bounds = [len(blocks) * part // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(work, (blocks[a:b] for a, b in zip(bounds, bounds[1:]))))
