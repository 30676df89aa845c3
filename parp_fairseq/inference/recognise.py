"""What is said in a recording, greedily or by beam search, in overlapping windows if it is long.

A recording no longer than a window is run whole. A longer one is cut into windows of that length,
so that memory does not grow with its length; each but the last begins `length - 2 * context` after
the one before, the last one ends where the recording ends. Of two windows that overlap, each gives
its half, so that a frame is at least `context` away from where its window was cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from parp_fairseq.checkpoints.dictionary import Word
from parp_fairseq.inference.audio import blocks
from parp_fairseq.inference.beam_search import BeamSearch
from parp_fairseq.inference.subnetwork import Subnetwork
from parp_fairseq.manifests.audio.headers import (
    SAMPLE_RATE,
    AudioError,
    Recording,
    is_silent,
    levels,
)

SECONDS = 20.0
"""A window's length by default."""

CONTEXT_SECONDS = 2.0
"""Context on either side of a frame at least, unless the recording begins or ends there."""


@dataclass(frozen=True)
class Transcript:
    """What is said in a recording, its length, and its words with their times, in seconds.

    A silent one holds nothing to hear; what a model writes for it means nothing.
    """

    recording: Recording
    seconds: float
    text: str
    words: tuple[Word, ...]
    silent: bool = False


def transcribe(
    subnetwork: Subnetwork,
    recording: Recording,
    window: float = SECONDS,
    context: float = CONTEXT_SECONDS,
    search: BeamSearch | None = None,
) -> Transcript:
    """Transcribe a recording.

    So many seconds are run at a time, each frame with `context` seconds on either side at least; a
    recording no longer than the `window` is run whole, as `parp eval` runs it in a batch of its
    own. `search` chooses the words (default: the likeliest symbol of every frame). UserError where
    the audio is damaged, cut off, no numbers, or shorter than a frame.
    """
    samples = heard = 0

    def counted(source: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        nonlocal samples, heard
        for block in source:
            samples += len(block)
            heard += levels(block)[1]
            yield block

    made = subnetwork.model.architecture
    length, margin = (
        round(seconds * SAMPLE_RATE / made.stride) * made.stride for seconds in (window, context)
    )
    parts = []
    for start, cut in windows(counted(blocks(recording)), length, margin, made.stride):
        logits = _logits(subnetwork, cut, recording)
        # A search needs them all; else only a frame's likeliest symbol is kept.
        part = logits.argmax(-1).astype(np.int32) if search is None else logits
        parts.append((start // made.stride, part))
    whole = stitched(parts)
    if search is None:
        text = " ".join(subnetwork.symbols.text(whole).split())
        found = tuple(subnetwork.symbols.words(whole))
    else:
        text, found = search.decode(whole)[1:]
    frame = made.stride / SAMPLE_RATE
    words = tuple(Word(word.text, word.start * frame, word.end * frame) for word in found)
    silent = is_silent(heard, samples, SAMPLE_RATE)
    return Transcript(recording, samples / SAMPLE_RATE, text, words, silent)


def _logits(subnetwork: Subnetwork, window: np.ndarray, recording: Recording) -> np.ndarray:
    """The logits (frames, symbols) of a window's samples."""
    import torch
    from torch.nn import functional

    fewest = subnetwork.model.architecture.receptive_field
    if len(window) < fewest:
        raise AudioError(
            "too short",
            f"{recording.path} has {len(window)} samples at 16 kHz, too few for one frame "
            f"({fewest})",
        )
    with torch.inference_mode():
        source = torch.from_numpy(np.ascontiguousarray(window))
        if subnetwork.normalize:
            source = functional.layer_norm(source, source.shape)
        logits: np.ndarray = subnetwork.model(source[None])[0].numpy()
    return logits


def windows(
    blocks: Iterable[np.ndarray], length: int, context: int, stride: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Cut a recording into windows as it is read; at most two windows' samples are in memory.

    Yields the number of a window's first sample and its samples. `length` and `context` (below half
    of it) are samples, multiples of `stride`, which leads from a frame of the model to the next.
    """
    step = length - 2 * context
    if length % stride or context % stride or step <= 0:
        raise ValueError(f"length {length} and context {context} do not fit the stride {stride}")
    start, count, pending = 0, 0, [np.zeros(0, dtype=np.float32)]
    given = False  # Whether `pending` begins with a window that was yielded already.
    for block in blocks:
        pending.append(block)
        count += len(block)
        while count > length + (step if given else 0):
            whole = np.concatenate(pending)
            if given:
                whole, start = whole[step:], start + step
            yield start, whole[:length]
            given, pending, count = True, [whole], len(whole)
    whole = np.concatenate(pending)
    if not given:
        yield start, whole
    elif count > length:
        # Rounded up, so that it is no longer than the others.
        late = -(-(count - length) // stride) * stride
        yield start + late, whole[late:]


def stitched(parts: Sequence[tuple[int, np.ndarray]]) -> np.ndarray:
    """One path (or array of logits) from those of windows, in order, overlapping or touching.

    `parts`: each window's first frame in the recording, and what it has for each of its frames.
    """
    kept = []
    begin = 0
    for (first, path), following in zip(parts, [*parts[1:], None]):
        end = first + len(path)
        cut = end if following is None else (following[0] + end) // 2
        kept.append(path[begin - first : cut - first])
        begin = cut
    return np.concatenate(kept) if kept else np.zeros(0, dtype=np.int64)
