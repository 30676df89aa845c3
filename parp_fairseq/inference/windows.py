"""Long recordings in overlapping windows, so that memory does not grow with their length.

A recording no longer than a window is run whole. A longer one is cut into windows of that length;
each but the last begins `length - 2 * context` behind the one before, the last one ends where the
recording ends. Of two windows that overlap, each gives its half: up to the middle of what both saw
counts the earlier, from there the later, so that a frame is at least `context` away from where its
window was cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

SECONDS = 30.0
"""A window's length by default."""

CONTEXT_SECONDS = 3.0
"""What is seen at least beside a frame that counts, unless the recording begins or ends there."""


@dataclass(frozen=True)
class Window:
    """Samples of a recording.

    Attributes:
        start: the first one's number; a multiple of the model's stride.
        samples: (samples,).
    """

    start: int
    samples: np.ndarray


def windows(
    blocks: Iterable[np.ndarray], length: int, context: int, stride: int
) -> Iterator[Window]:
    """Cut a recording into windows as it is read; two windows' samples are held at most.

    Args:
        blocks: the recording's samples, in order.
        length: samples of a window; a multiple of `stride`.
        context: samples; a multiple of `stride`, below half of `length`.
        stride: samples from a frame of the model to the next.
    """
    step = length - 2 * context
    if length % stride or context % stride or step <= 0:
        raise ValueError(f"length {length} and context {context} do not fit the stride {stride}")
    start, held, pending = 0, 0, [np.zeros(0, dtype=np.float32)]
    behind = False  # Whether `pending` begins with a window that was given out already.
    for block in blocks:
        pending.append(block)
        held += len(block)
        while held > length + (step if behind else 0):
            whole = np.concatenate(pending)
            if behind:
                whole, start = whole[step:], start + step
            yield Window(start, whole[:length])
            behind, pending, held = True, [whole], len(whole)
    whole = np.concatenate(pending)
    if not behind:
        yield Window(start, whole)
    elif held > length:
        # Rounded up, so that it is no longer than the others.
        late = -(-(held - length) // stride) * stride
        yield Window(start + late, whole[late:])


def stitched(parts: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
    """One path from those of windows.

    Args:
        parts: each window's first frame, counted from the recording's, and what was found for each
            of its frames; in order, overlapping or touching.
    """
    kept = []
    begin = 0
    for (first, path), following in zip(parts, [*parts[1:], None]):
        end = first + len(path)
        cut = end if following is None else (following[0] + end) // 2
        kept.append(path[begin - first : cut - first])
        begin = cut
    return np.concatenate(kept) if kept else np.zeros(0, dtype=np.int64)
