"""Brackets and digits, against their definitions and those against plain floats."""

from __future__ import annotations

import numpy as np
import torch
from arrays import anything, several
from hypothesis import given, settings
from hypothesis import strategies as st

from parp_fairseq.kernels.rank import digits, digits_reference, scan
from parp_fairseq.kernels.words import infinity, value_of, words


@st.composite
def bracket(draw, arrays):
    """Words low and high, mostly such that occur."""
    dtype = arrays[0].dtype
    known = words(torch.cat(arrays)).clamp(max=infinity(dtype)).tolist() or [0]
    end = st.one_of(st.sampled_from(known), st.sampled_from([0, infinity(dtype)]))
    return draw(end), draw(end)


@anything
@given(several(), st.data())
def test_a_scan_counts_and_collects(level, arrays, data):
    low, high = data.draw(bracket(arrays))
    found = scan(arrays, low, high, 10_000)
    dtype = arrays[0].dtype
    everything = np.concatenate([words(array).numpy() for array in arrays]).astype(np.int64)
    at = np.flatnonzero((everything >= low) & (everything < high))
    assert found.complete
    order = np.argsort(found.positions)
    assert np.array_equal(found.positions[order], at)
    assert np.array_equal(found.words[order], everything[at])
    for array, below, inside, infinite in zip(arrays, found.below, found.inside, found.infinite):
        assert bool(infinite) == (not bool(array.isfinite().all()))
        magnitudes = array.abs().double()
        assert below == int((magnitudes < value_of(low, dtype)).sum())
        within = (magnitudes >= value_of(low, dtype)) & (magnitudes < value_of(high, dtype))
        assert inside == int(within.sum())


@anything
@given(several(finite=True), st.integers(0, 300))
def test_a_scan_without_room_still_counts(level, arrays, room):
    found = scan(arrays, 0, infinity(arrays[0].dtype), room)
    total = sum(array.numel() for array in arrays)
    assert found.inside.tolist() == [array.numel() for array in arrays]
    assert found.words.size == found.positions.size <= min(room, total)
    assert found.complete == (found.words.size == total)
    everything = torch.cat([words(array) for array in arrays]).numpy()
    assert np.array_equal(everything[found.positions], found.words)


@settings(anything, max_examples=15)
@given(several(), st.data())
def test_digits_are_those_of_the_definition(level, arrays, data):
    width = 8 * arrays[0].element_size()
    shift = data.draw(st.sampled_from(range(0, width, 16)))
    known = (words(torch.cat(arrays)).long() >> shift >> 16).tolist() or [0]
    prefix = data.draw(st.sampled_from(known))
    expected = sum(digits_reference(array, shift, prefix) for array in arrays)
    counts = digits(arrays, shift, prefix)
    assert np.array_equal(counts, expected.numpy())
    mine = [
        w >> shift & 0xFFFF for w in words(torch.cat(arrays)).tolist() if w >> shift >> 16 == prefix
    ]
    assert np.array_equal(counts, np.bincount(np.array(mine, np.int64), minlength=1 << 16))
