"""What CTC over wav2vec 2.0 can align: frames of audio, and the frames that labels need."""

from __future__ import annotations

from collections.abc import Sequence

# Of the feature extractor of base, large and XLSR-53.
WINDOW = 400
"""Samples that a frame sees (25 ms): fairseq cannot use anything shorter."""
_HOP = 320

MASK_LENGTH = 10
"""Frames of a span mask in the paper's settings (`model.mask_length`)."""

# wav2vec 2.0 asks for two spans at least, and fairseq ends with "the entire sequence is masked"
# where spans may cover an utterance: up to the length of a span and two frames.
_SPANS = 2


def ctc_frames(samples: int) -> int:
    """Frames that `samples` of 16 kHz audio become."""
    return max(0, (samples - WINDOW) // _HOP + 1)


def needed_frames(symbols: Sequence[str]) -> int:
    """Frames that a label needs: one a symbol, and a blank between two of the same."""
    return len(symbols) + sum(a == b for a, b in zip(symbols, symbols[1:]))


def least_samples(mask_length: int) -> int:
    """The shortest audio that trains with span masks of so many frames; 0 is without masks."""
    frames = mask_length + _SPANS + 1 if mask_length else 1
    return WINDOW + _HOP * (frames - 1)
