import math

import pytest
import torch
from arrays import DTYPES, several
from hypothesis import given, settings
from hypothesis import strategies as st

from parp_fairseq.kernels.words import infinity, value_of, word_of, words


@settings(deadline=None)
@given(several(finite=True))
def test_words_order_as_magnitudes(tensors):
    both = torch.cat(tensors)
    magnitudes, found = both.abs().double(), words(both).long()
    assert torch.equal(magnitudes[:, None] < magnitudes, found[:, None] < found)
    assert bool((found < infinity(both.dtype)).all()) and bool((found >= 0).all())


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_not_finite_is_at_least_infinity(dtype):
    bad = torch.tensor([math.nan, -math.nan, math.inf, -math.inf], dtype=dtype)
    assert bool((words(bad) >= infinity(dtype)).all())
    largest = torch.tensor(torch.finfo(dtype).max, dtype=dtype)
    assert int(words(largest)) == infinity(dtype) - 1


@settings(deadline=None)
@given(st.floats(0, 1e300), st.sampled_from(DTYPES))
def test_a_value_becomes_the_next_word_below(value, dtype):
    word = word_of(value, dtype)
    assert value_of(word, dtype) <= value
    assert value < value_of(word + 1, dtype)


@settings(deadline=None)
@given(st.data(), st.sampled_from(DTYPES))
def test_a_word_is_that_of_its_value(data, dtype):
    word = data.draw(st.integers(0, infinity(dtype) - 1))
    assert word_of(value_of(word, dtype), dtype) == word
