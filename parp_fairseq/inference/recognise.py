"""What is said in a recording, by greedy CTC decoding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from parp_fairseq.errors import UserError
from parp_fairseq.inference.audio import SAMPLE_RATE, Recording, blocks
from parp_fairseq.inference.subnetwork import Subnetwork
from parp_fairseq.inference.windows import CONTEXT_SECONDS, SECONDS, Window, stitched, windows


@dataclass(frozen=True)
class TimedWord:
    """A word, or a phone, and when it is said, in seconds."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Transcript:
    """What is said in a recording, and its length in seconds."""

    recording: Recording
    seconds: float
    text: str
    words: tuple[TimedWord, ...]


def transcribe(
    subnetwork: Subnetwork,
    recording: Recording,
    window: float = SECONDS,
    context: float = CONTEXT_SECONDS,
) -> Transcript:
    """Transcribe a recording.

    Args:
        subnetwork: what hears.
        recording: what `read_recording` returned.
        window: seconds that are run at a time; a shorter recording is run whole, exactly as
            `parp eval` runs it in a batch of its own.
        context: seconds that a window sees at least beside what it gives.

    Raises:
        UserError: the audio is damaged, cut off, no numbers, or shorter than a frame.
    """
    samples = 0

    def counted(source: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        nonlocal samples
        for block in source:
            samples += len(block)
            yield block

    made = subnetwork.model.architecture
    length, margin = (
        round(seconds * SAMPLE_RATE / made.stride) * made.stride for seconds in (window, context)
    )
    parts = [
        (cut.start // made.stride, _path(subnetwork, cut, recording))
        for cut in windows(counted(blocks(recording)), length, margin, made.stride)
    ]
    path = stitched(parts)
    frame = made.stride / SAMPLE_RATE
    words = tuple(
        TimedWord(word.text, word.start * frame, word.end * frame)
        for word in subnetwork.symbols.words(path)
    )
    return Transcript(recording, samples / SAMPLE_RATE, subnetwork.symbols.text(path), words)


def _path(subnetwork: Subnetwork, window: Window, recording: Recording) -> np.ndarray:
    """The likeliest symbol of every frame of a window."""
    import torch
    from torch.nn import functional

    fewest = subnetwork.model.architecture.receptive_field
    if len(window.samples) < fewest:
        raise UserError(
            f"{recording.path} has {len(window.samples)} samples at 16 kHz, too few for one frame "
            f"({fewest})"
        )
    with torch.inference_mode():
        source = torch.from_numpy(np.ascontiguousarray(window.samples))
        if subnetwork.normalize:
            source = functional.layer_norm(source, source.shape)
        path = subnetwork.model(source[None])[0].argmax(-1)
    return path.numpy().astype(np.int32)
