"""Statistics against scipy, and verdicts."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from parp_fairseq.report.statistics import (
    DESIGN,
    Estimate,
    design_effects,
    holm,
    paired,
    sign_of_intervals,
)

rates = st.floats(0, 200)


@given(st.lists(rates, min_size=2, max_size=8))
def test_intervals_and_p_are_scipys(values):
    assume(np.ptp(values) > 1e-2)
    found, of_scipy = Estimate.of(values), stats.ttest_1samp(values, 0.0)
    interval = of_scipy.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert found.p == pytest.approx(of_scipy.pvalue, rel=1e-6, abs=1e-12)
    assert (found.sign != 0) == (found.p < 0.05)


def test_one_value_has_no_interval():
    one = Estimate.of([3.0])
    assert (one.mean, one.half, one.p, one.sign, one.shown()) == (3.0, None, None, 0, "3.0")
    assert Estimate.of([2.0, 2.0]).p == 0.0 and Estimate.of([0.0, 0.0]).p == 1.0
    assert Estimate.of([-3.0, -2.0, -1.0]).shown(signed=True) == "-2.0 ± 2.5"


@given(st.lists(st.tuples(rates, rates), min_size=2, max_size=6))
def test_paired_differences_are_scipys_and_within_seeds(pairs):
    assume(np.ptp([a - b for a, b in pairs]) > 1e-2)
    one = {seed: a for seed, (a, _) in enumerate(pairs)}
    other = {seed: b for seed, (_, b) in enumerate(pairs)}
    found = paired({**one, 98: 1.0}, {**other, 99: 1.0})
    assert found.count == len(pairs)
    assert found.p == pytest.approx(stats.ttest_rel(*zip(*pairs)).pvalue, rel=1e-6, abs=1e-12)
    assert paired({1: 1.0}, {2: 1.0}) is None


@given(st.lists(st.floats(0, 0.1), min_size=1, max_size=12))
def test_holm_rejects_as_its_definition_does(p_values):
    adjusted = holm(p_values)
    # Step down: reject the smallest p while p <= level / (number of hypotheses left).
    for level in (0.01, 0.05, 0.2):
        rejected = set()
        for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
            if p_values[place] * (len(p_values) - rank) > level:
                break
            rejected.add(place)
        assert {place for place, p in enumerate(adjusted) if p <= level} == rejected


@pytest.mark.parametrize(
    ("better", "worse", "sign"),
    [
        ([(1, 2)], [(3, 4)], -1),
        ([(3, 4)], [(1, 2)], 1),
        ([(1, 3)], [(2, 4)], 0),
        # All seeds that either has count.
        ([(1, 2)], [(3, 4), (1.5, 5)], 0),
        ([(3, 4), (1, 4)], [(1, 2)], 0),
    ],
)
def test_single_runs_are_compared_by_their_intervals(better, worse, sign):
    assert sign_of_intervals(better, worse) == sign


def test_a_design_gives_back_the_effects_that_it_was_made_of():
    """Regrowth -1, schedule -10 and an interaction of -4, whatever a seed's level."""
    levels = dict(zip(DESIGN, (0.0, -1.0 + 2.0, -10.0 + 2.0, -11.0)))
    cells = {cell: {s: 50.0 + s + level for s in (1, 2, 3)} for cell, level in levels.items()}
    found = design_effects(cells)
    means = (found.regrowth.mean, found.schedule.mean, found.interaction.mean)
    assert means == pytest.approx((-1.0, -10.0, -4.0))
    assert found.regrowth.count == 3
    assert design_effects({**cells, DESIGN[0]: {9: 1.0}}) is None
