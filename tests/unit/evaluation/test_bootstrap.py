from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parp_fairseq.evaluation import score
from parp_fairseq.evaluation.score import bootstrap_interval

counts = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), min_size=1, max_size=30)


def made(utterances, seed):
    """Errors that go with the lengths."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 30, utterances)
    return random.binomial(lengths, random.beta(2, 5, utterances)), lengths


def test_equals_the_normal_approximation_of_a_ratio():
    errors, lengths = made(4_000, 3)
    rate = errors.sum() / lengths.sum()
    spread = np.sqrt(((errors - rate * lengths) ** 2).sum()) / lengths.sum()
    low, high = bootstrap_interval(errors, lengths)
    assert low == pytest.approx(100 * (rate - 1.96 * spread), abs=0.03)
    assert high == pytest.approx(100 * (rate + 1.96 * spread), abs=0.03)


def test_equals_a_plain_loop():
    errors, lengths = made(12, 4)
    draw = random.Random(8)
    rates = []
    for _ in range(20_000):
        drawn = [draw.randrange(12) for _ in range(12)]
        rates.append(100 * sum(errors[i] for i in drawn) / sum(lengths[i] for i in drawn))
    rates.sort()
    low, high = bootstrap_interval(errors, lengths)
    assert low == pytest.approx(rates[500], abs=0.5)
    assert high == pytest.approx(rates[19_500], abs=0.5)
    assert high - low > 10


@settings(max_examples=25, deadline=None)
@given(counts)
def test_lies_between_the_best_and_the_worst_utterance(utterances):
    errors, lengths = zip(*utterances)
    low, high = bootstrap_interval(errors, lengths)
    single = [100 * wrong / length for wrong, length in utterances]
    assert min(single) - 1e-9 <= low <= high <= max(single) + 1e-9


@pytest.mark.legacy
def test_is_repeatable_and_does_not_depend_on_the_block(monkeypatch):
    errors, lengths = made(100, 5)
    first = bootstrap_interval(errors, lengths)
    assert bootstrap_interval(list(errors), tuple(lengths)) == first
    monkeypatch.setattr(score, "_AT_ONCE", 700)
    assert bootstrap_interval(errors, lengths) == first


def test_sets_without_reference_words_do_not_count():
    low, high = bootstrap_interval([1, 2], [0, 4])
    # Of the sets {1,1}, {1,2}, {2,1}, {2,2} the first has no rate.
    assert (low, high) == (50.0, 75.0)
