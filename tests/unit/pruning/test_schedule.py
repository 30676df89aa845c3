import pytest
from hypothesis import given
from hypothesis import strategies as st

from parp_fairseq.pruning import PruningError, SparsitySchedule


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (SparsitySchedule(final=0.4), [0.4] * 4),
        (SparsitySchedule(final=0.9, initial=0.6, rise=3), [0.6, 0.7, 0.8, 0.9]),
        (SparsitySchedule(0.8, 0.0, rise=2, shape="cubic"), [0.0, 0.8 * (1 - 0.5**3), 0.8, 0.8]),
    ],
)
def test_sparsity_after_each_update(schedule, expected):
    assert [schedule.at(update) for update in range(4)] == pytest.approx(expected)


@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 50), st.sampled_from(["linear", "cubic"]))
def test_never_falls_and_ends_at_the_target(one, two, rise, shape):
    initial, final = sorted((one, two))
    schedule = SparsitySchedule(final=final, initial=initial, rise=rise, shape=shape)
    values = [schedule.at(update) for update in range(60)]
    assert values[-1] == final
    assert all(a <= b + 1e-12 for a, b in zip(values, values[1:]))
    assert all(0 <= value <= 1 for value in values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"final": 1.5}, r"^sparsity is 1\.5"),
        ({"final": 0.5, "initial": -1}, "^initial_sparsity is -1"),
        ({"final": 0.5, "initial": 0.6, "rise": 3}, "above the sparsity to reach"),
        ({"final": 0.5, "shape": "step"}, "schedule is .*linear or cubic"),
    ],
)
def test_refuses_what_makes_no_sense(options, message):
    with pytest.raises(PruningError, match=message):
        SparsitySchedule(**options)
