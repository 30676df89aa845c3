"""Intervals and effects against scipy and least squares."""

from __future__ import annotations

import numpy as np
import pytest
from experiments.figures import draw_points
from experiments.statistics import CELLS, Estimate, effects, paired
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy import stats

rate = st.floats(0, 200, allow_nan=False)


@settings(max_examples=100, deadline=None)
@given(st.lists(rate, min_size=2, max_size=8))
def test_the_interval_is_students(values):
    found = Estimate.of(values)
    assert found.mean == pytest.approx(np.mean(values))
    error = stats.sem(values)
    if error > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, np.mean(values), error)
        assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_one_value_has_no_interval():
    found = Estimate.of([3.0])
    assert (found.low, found.high, found.sign, found.shown()) == (None, None, 0, "3.0")
    assert Estimate.of([1.0, 1.2, 1.1]).sign == 1
    assert Estimate.of([-1.0, 1.2, 1.1]).sign == 0
    assert Estimate.of([-1.0, -1.2, -1.1]).shown(signed=True) == "-1.1 ± 0.2"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(rate, min_size=4, max_size=4), min_size=1, max_size=5))
def test_effects_are_those_of_a_linear_model(rows):
    # rate = seed + schedule·x + revival·y + interaction·x·y, x and y being ±1/2.
    signs = [(-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)]
    design, target = [], []
    for number, row in enumerate(rows):
        for (climbs, free), value in zip(signs, row):
            seeds = [float(number == other) for other in range(len(rows))]
            design.append([climbs, free, climbs * free, *seeds])
            target.append(value)
    solved = np.linalg.lstsq(np.array(design), np.array(target), rcond=None)[0]
    cells = {cell: {seed: row[i] for seed, row in enumerate(rows)} for i, cell in enumerate(CELLS)}
    found = effects(cells)
    assert found.schedule.mean == pytest.approx(solved[0], abs=1e-8)
    assert found.revival.mean == pytest.approx(solved[1], abs=1e-8)
    assert found.interaction.mean == pytest.approx(solved[2], abs=1e-8)
    assert found.revival.count == len(rows)


def test_only_seeds_that_all_cells_have_count():
    cells = {cell: {1: 10.0, 2: 20.0} for cell in CELLS}
    cells[CELLS[3]] = {2: 14.0, 3: 1.0}
    found = effects(cells)
    assert found.revival.count == 1
    assert (found.revival.mean, found.schedule.mean, found.interaction.mean) == (-3, -3, -6)
    assert effects({**cells, CELLS[0]: {}}) is None


def test_differences_are_within_seeds():
    found = paired({1: 10.0, 2: 11.0, 5: 0.0}, {1: 20.0, 2: 21.5, 4: 1.0})
    assert (found.mean, found.count, found.sign) == (-10.25, 2, -1)
    assert paired({1: 1.0}, {2: 2.0}) is None


def test_one_seed_is_drawn_without_a_bar():
    axes = Figure().subplots()
    draw_points(axes, [0.5, 0.9], [Estimate.of([40.0]), Estimate.of([50.0, 52.0])])
    _, caps, _ = axes.containers[0]
    bars = [np.isnan(np.asarray(cap.get_ydata(), float)).tolist() for cap in caps]
    assert bars == [[True, False]] * 2
