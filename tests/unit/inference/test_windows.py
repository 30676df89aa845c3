"""Windows: their samples, how few are in memory at a time, and what each gives."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from parp_fairseq.inference.recognise import stitched, windows

STRIDE, FIELD = 4, 6


def frames(samples):
    return max(0, (samples - FIELD) // STRIDE + 1)


def cut(total, length, context, block):
    recording = np.arange(total, dtype=np.float32)
    pieces = [recording[start : start + block] for start in range(0, total, block)]
    return recording, list(windows(pieces, length, context, STRIDE))


@given(
    total=st.integers(0, 900),
    steps=st.integers(1, 12),
    context=st.integers(2, 6),
    block=st.integers(1, 300),
)
def test_every_frame_comes_once_from_a_window_that_sees_what_is_beside_it(
    total, steps, context, block
):
    length, context = STRIDE * (2 * context + steps), STRIDE * context
    recording, found = cut(total, length, context, block)
    for start, samples in found:
        assert start % STRIDE == 0
        assert np.array_equal(samples, recording[start : start + len(samples)])
        assert len(samples) <= length
    assert len(found) == 1 if total <= length else len(found) > 1
    # A frame's number, and how far it is from the ends of what its window saw.
    parts = []
    for start, samples in found:
        count, first = frames(len(samples)), start // STRIDE
        parts.append((first, np.arange(first, first + count)))
    assert stitched(parts).tolist() == list(range(frames(total)))
    sources = [(first, np.full(len(path), number)) for number, (first, path) in enumerate(parts)]
    for frame, number in enumerate(stitched(sources)):
        first, samples = found[number]
        start, end = frame * STRIDE, frame * STRIDE + FIELD
        assert first == 0 or start - first >= context - FIELD
        last = first + len(samples)
        assert last == total or last - end >= context - FIELD - STRIDE


def test_two_windows_are_in_memory_at_most():
    given_out = []

    def blocks():
        for number in range(1000):
            given_out.append(number)
            yield np.zeros(10, dtype=np.float32)

    for start, _ in windows(blocks(), 200, 20, STRIDE):
        ahead = 10 * len(given_out) - start
        assert ahead <= 2 * 200 + 10
