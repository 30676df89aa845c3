from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from parp_fairseq.glue import metrics
from parp_fairseq.glue.tasks import TASKS

classes = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=40)
numbers = st.lists(
    st.tuples(st.integers(0, 10), st.floats(-5, 5, width=32)), min_size=2, max_size=40
)


@given(classes)
def test_of_classes_as_scikit_learn_has_them(pairs):
    labels, predicted = (np.array(side) for side in zip(*pairs))
    assert metrics.accuracy(labels, predicted) == pytest.approx(
        sk.accuracy_score(labels, predicted)
    )
    assert metrics.f1(labels, predicted) == pytest.approx(
        sk.f1_score(labels, predicted, zero_division=0)
    )
    assert metrics.matthews(labels, predicted) == pytest.approx(
        sk.matthews_corrcoef(labels, predicted)
    )


@settings(deadline=None)
@given(numbers)
def test_of_numbers_as_scipy_has_them(pairs):
    labels, predicted = (np.array(side, np.float64) for side in zip(*pairs))
    if np.std(labels) < 1e-3 or np.std(predicted) < 1e-3:
        return
    assert metrics.pearson(labels, predicted) == pytest.approx(
        stats.pearsonr(labels, predicted)[0], abs=1e-6
    )
    assert metrics.spearman(labels, predicted) == pytest.approx(
        stats.spearmanr(labels, predicted)[0], abs=1e-6
    )


def test_constant_predictions_score_nothing():
    labels = np.array([0.0, 1.0, 2.0])
    assert metrics.pearson(labels, np.ones(3)) == metrics.spearman(labels, np.ones(3)) == 0.0


def test_a_score_stands_in_its_interval_and_repeats():
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=300)
    predicted = np.where(rng.random(300) < 0.8, labels, 1 - labels)
    first = metrics.score(TASKS["mrpc"], labels, predicted, 500)
    assert [score.name for score in first] == ["accuracy", "f1"]
    for one in first:
        assert one.low < one.value < one.high
        assert one.high - one.low < 15
    assert first == metrics.score(TASKS["mrpc"], labels, predicted, 500)
