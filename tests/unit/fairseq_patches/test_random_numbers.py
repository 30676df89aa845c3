"""Random numbers that depend only on the seed, the update, the micro-batch and the worker."""

import numpy as np
import pytest

from parp_fairseq.fairseq_patches import numpy_seeded

KEY = (1, 2, 0, 0)


def drawn(*key):
    """What fairseq draws: layerdrop from the global generator, span masks from fresh ones."""
    with numpy_seeded(*key):
        layers = np.random.random(5)
        spans = [np.random.default_rng().random(5) for _ in range(2)]
    return [layers.tolist(), *(span.tolist() for span in spans)]


def test_a_key_decides_all_that_is_drawn():
    layers, first, second = drawn(*KEY)
    assert drawn(*KEY) == [layers, first, second]
    # Two span masks of one pass differ.
    assert first != second


@pytest.mark.parametrize(
    ("key", "layers_differ"),
    # Workers share layerdrop but not span masks.
    [((2, 2, 0, 0), True), ((1, 3, 0, 0), True), ((1, 2, 1, 0), True), ((1, 2, 0, 1), False)],
)
def test_another_key_draws_other_numbers(key, layers_differ):
    one, two = drawn(*KEY), drawn(*key)
    assert (one[0] != two[0]) == layers_differ
    assert one[1] != two[1] and one[2] != two[2]


def test_numpy_is_left_as_it_was():
    before = np.random.default_rng
    np.random.seed(5)
    expected = np.random.random(3)
    np.random.seed(5)
    with pytest.raises(RuntimeError), numpy_seeded(*KEY):
        given = np.random.default_rng(7).random()
        np.random.random(10)
        raise RuntimeError
    assert np.array_equal(np.random.random(3), expected)
    assert np.random.default_rng is before
    # A seed that somebody gives is kept.
    assert given == np.random.default_rng(7).random()
