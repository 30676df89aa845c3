"""How many rounds IMP takes, and how sparse each leaves the model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parp_fairseq.errors import UserError
from parp_fairseq.jobs.imp_rounds import LEAST_STEP, round_sparsities


def test_nine_rounds_of_a_tenth_make_ninety_percent():
    assert round_sparsities(0.9) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


def test_of_what_remains_it_takes_twenty_two():
    found = round_sparsities(0.9, of="remaining")
    assert len(found) == 22
    assert found[:3] == [0.1, 0.19, 0.271]
    assert found[-1] == 0.9


def test_the_last_round_stops_at_the_target():
    assert round_sparsities(0.25) == [0.1, 0.2, 0.25]


@given(st.floats(0.01, 0.999), st.floats(0.01, 1.0), st.sampled_from(["original", "remaining"]))
def test_rounds_climb_to_the_target(target, step, of):
    found = round_sparsities(target, step, of)
    assert found[-1] == target
    assert all(a < b for a, b in zip(found, found[1:]))


@pytest.mark.parametrize("of", ["original", "remaining"])
def test_the_smallest_step_comes_to_an_end(of):
    assert round_sparsities(1 - 1e-9, LEAST_STEP, of)[-1] == 1 - 1e-9


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((0.0,), "--sparsity"),
        ((1.0,), "--sparsity"),
        ((90.0,), "--sparsity"),
        ((0.9, 0.0), "--step"),
        ((0.9, 10.0), "--step"),
        ((0.5, 1e-9), "--step is 1e-09; it is a share of 0.001 to 1"),
        ((0.9, 0.1, "all"), "--of"),
    ],
)
def test_what_is_out_of_range_is_named(arguments, named):
    with pytest.raises(UserError, match=named):
        round_sparsities(*arguments)
