"""Brackets, against plain floats."""

import numpy as np
import torch
from arrays import anything, several
from hypothesis import given
from hypothesis import strategies as st

from parp_fairseq.kernels.rank import scan
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
