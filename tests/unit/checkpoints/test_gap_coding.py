"""Rice-coded gaps: undone exactly, near the entropy, refused where a byte is not as it must be."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parp_fairseq.checkpoints.gap_coding import MAX_LOW, accounts_for, decode, encode, low_bytes


def bits_of(gaps, low):
    """By the page's words: the bits of both parts."""
    high = "".join("0" * (gap >> low) + "1" for gap in gaps)
    return high, "".join(f"{gap % 2**low:0{low}b}" if low else "" for gap in gaps)


def packed(bits, least):
    bits = bits.ljust(8 * max(math.ceil(len(bits) / 8), least), "0")
    return bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))


@settings(max_examples=200, deadline=None)
@given(
    gaps=st.lists(st.one_of(st.integers(0, 3), st.integers(0, 3000)), max_size=60),
    after=st.one_of(st.just(0), st.integers(0, 5000)),
    seed=st.integers(0, 2**31),
)
def test_undone_and_as_specified(gaps, after, seed):
    positions = np.cumsum(np.array(gaps, np.int64) + 1) - 1
    entries = sum(gaps) + len(gaps) + after
    high, lows, low = encode(positions, entries)
    coded = [bits_of(gaps, r) for r in range(MAX_LOW + 1)]
    each = [
        (packed(h, math.ceil(entries / (8 << r))), packed(b, 0)) for r, (h, b) in enumerate(coded)
    ]
    assert (high.tobytes(), lows.tobytes()) == each[low]
    assert len(high) + len(lows) == min(len(h) + len(b) for h, b in each)
    assert len(lows) == low_bytes(len(gaps), low) and accounts_for(len(high), low) >= entries
    assert np.array_equal(decode(high, lows, low, len(gaps), entries), positions)

    # One other byte or length is another set of as many, or none.
    random = np.random.default_rng(seed)
    for part in (high, lows):
        other = part.copy()
        if len(other):
            other[random.integers(len(other))] ^= 1 << random.integers(8)
        else:
            other = np.zeros(1, np.uint8)
        given_parts = (other, lows) if part is high else (high, other)
        try:
            found = decode(*given_parts, low, len(gaps), entries)
        except ValueError:
            continue
        assert not np.array_equal(found, positions)
        assert len(found) == len(gaps) and (np.diff(found, prepend=-1) > 0).all()
        assert found[-1] < entries
    for wrong in ((np.append(high, np.uint8(0)), lows), (high, np.append(lows, np.uint8(0)))):
        with pytest.raises(ValueError, match=r"after their end|too many"):
            decode(*wrong, low, len(gaps), entries)
