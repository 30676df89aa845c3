"""Random numbers that depend on the update alone."""

import numpy as np
import pytest

from parp_fairseq.tasks.randomness import numpy_seeded


def drawn(*key):
    """What fairseq draws: layerdrop from the global generator, span masks from fresh ones."""
    with numpy_seeded(*key):
        layers = np.random.random(5)
        spans = [np.random.default_rng().random(5) for _ in range(2)]
    return layers, spans[0], spans[1]


def test_the_same_key_draws_the_same():
    for one, two in zip(drawn(1, 2, 0, 0), drawn(1, 2, 0, 0)):
        assert np.array_equal(one, two)


@pytest.mark.parametrize("key", [(2, 2, 0, 0), (1, 3, 0, 0), (1, 2, 1, 0)])
def test_another_seed_update_or_micro_batch_draws_other_numbers(key):
    for one, two in zip(drawn(1, 2, 0, 0), drawn(*key)):
        assert not np.array_equal(one, two)


def test_workers_share_layerdrop_but_not_span_masks():
    one, two = drawn(1, 2, 0, 0), drawn(1, 2, 0, 1)
    assert np.array_equal(one[0], two[0])
    assert not np.array_equal(one[1], two[1])


def test_span_masks_of_one_pass_differ():
    _, first, second = drawn(1, 2, 0, 0)
    assert not np.array_equal(first, second)


def test_leaves_numpy_as_it_was():
    np.random.seed(5)
    expected = np.random.random(3)
    np.random.seed(5)
    before = np.random.default_rng
    with pytest.raises(RuntimeError), numpy_seeded(1, 2, 0, 0):
        np.random.random(10)
        raise RuntimeError
    assert np.array_equal(np.random.random(3), expected)
    assert np.random.default_rng is before


def test_a_given_seed_is_kept():
    with numpy_seeded(1, 2, 0, 0):
        one = np.random.default_rng(7).random()
    assert one == np.random.default_rng(7).random()
