"""How far weights move between prunings: the bound, and what follows from it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parp_fairseq.pruning import Pruner, PruningError, SparsitySchedule, magnitude_mask
from parp_fairseq.pruning.reach import (
    adam_bound,
    interval_to_reach,
    reach,
    relative_reach,
    thresholds,
)

BETAS = st.sampled_from([(0.9, 0.98), (0.9, 0.999), (0.8, 0.9), (0.0, 0.5)])


def test_the_bound_of_the_papers_adam():
    assert adam_bound(0.9, 0.98) == pytest.approx(1.70, abs=0.005)
    with pytest.raises(PruningError, match="no bound"):
        adam_bound(0.99, 0.98)


@settings(deadline=None)
@given(
    st.lists(
        st.floats(-1e3, 1e3).filter(lambda g: g == 0 or abs(g) > 1e-3), min_size=1, max_size=60
    ),
    BETAS,
    st.floats(1e-5, 0.1),
)
def test_adam_never_moves_a_weight_further(gradients, betas, lr):
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=lr, betas=betas, eps=1e-12)
    for gradient in gradients:
        weight.grad = torch.full((1,), gradient, dtype=torch.float64)
        optimizer.step()
    most = reach([lr] * len(gradients), adam_bound(*betas))
    assert abs(weight.item()) <= most * (1 + 1e-9)


@pytest.mark.parametrize("betas", [(0.9, 0.98), (0.8, 0.9)])
def test_the_bound_is_met_in_one_update_by_the_gradients_that_cauchy_and_schwarz_name(betas):
    beta1, beta2 = betas
    steps = 400
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=1.0, betas=betas, eps=1e-300)
    for step in range(steps):
        before = weight.item()
        # Proportional to (β1/β2)^(updates left).
        gradient = (beta1 / beta2) ** (steps - 1 - step)
        weight.grad = torch.full((1,), gradient, dtype=torch.float64)
        optimizer.step()
    assert abs(weight.item() - before) == pytest.approx(adam_bound(*betas), rel=1e-3)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 0.5, 0.9]))
def test_nothing_comes_back_below_a_relative_reach_of_one(seed, sparsity):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(40, 5, generator=generator).requires_grad_()
    tensors = {"w": weight.detach()}
    interval = 4
    (threshold,) = thresholds(tensors, [sparsity])
    lr = 0.99 * threshold / 2 / reach([1.0] * interval)
    optimizer = torch.optim.Adam([weight], lr=lr, betas=(0.9, 0.98))
    pruner = Pruner(SparsitySchedule(final=sparsity), interval=interval, total_updates=interval)
    initial = magnitude_mask(tensors, sparsity)
    pruner.start(tensors, initial)
    assert relative_reach(reach([lr] * interval), threshold) < 1
    for update in range(interval):
        pruner.begin_update(0, update)
        weight.grad = torch.randn(40, 5, generator=generator)
        optimizer.step()
        pruner.end_update(update + 1)
    assert pruner.revived == 0.0
    assert pruner.mask.equal(initial)


def test_above_it_something_can():
    weight = torch.tensor([0.1, 1.0]).requires_grad_()
    optimizer = torch.optim.Adam([weight], lr=0.3, betas=(0.9, 0.98))
    pruner = Pruner(SparsitySchedule(final=0.5), interval=2, total_updates=2)
    pruner.start({"w": weight.detach()}, magnitude_mask({"w": weight.detach()}, 0.5), 0.1)
    for update in range(2):
        pruner.begin_update(0, update)
        weight.grad = torch.tensor([-1.0, 1.0])
        optimizer.step()
        pruner.end_update(update + 1)
    assert pruner.revived == 1.0


@given(st.floats(1e-4, 1.0), st.floats(1e-6, 1e-2))
def test_the_interval_from_which_on_it_can(threshold, lr):
    n = interval_to_reach(threshold, lr)
    assert relative_reach(reach([lr] * n), threshold) >= 1 - 1e-9
    if n > 1:
        assert relative_reach(reach([lr] * (n - 1)), threshold) < 1 + 1e-9


def test_thresholds_are_quantiles():
    values = np.random.default_rng(1).permutation(np.arange(1, 101)).astype(np.float32)
    tensors = {"a": torch.from_numpy(values[:30]), "b": -torch.from_numpy(values[30:])}
    assert thresholds(tensors, [0.0, 0.1, 0.5, 1.0]) == [0.0, 10.0, 50.0, 100.0]
    assert math.isinf(relative_reach(0.1, 0.0))
