"""How far weights move between prunings: the bound, and what follows from it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parp_fairseq.pruning import (
    Mask,
    Pruner,
    PruningError,
    PruningSpec,
    SparsitySchedule,
    magnitude_mask,
    random_mask,
)
from parp_fairseq.pruning.magnitude import smallest_kept
from parp_fairseq.pruning.reach import (
    Motion,
    adam_bound,
    interval_to_reach,
    look_ahead,
    motion_of,
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
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.3, 0.5, 0.9]),
    st.sampled_from(["magnitude", "random"]),
    st.sampled_from(["global", "tensor"]),
    st.floats(0.2, 2.0),
    st.sampled_from([0.0, 1.0, 10.0]),
)
def test_nothing_comes_back_where_the_meter_is_below_one(
    seed, sparsity, kind, granularity, share, decay
):
    generator = torch.Generator().manual_seed(seed)
    sizes = {"a": 0.1, "b": 1.0}
    weights = {
        name: (size * torch.randn(40, 5, generator=generator)).requires_grad_()
        for name, size in sizes.items()
    }
    tensors = {name: weight.detach() for name, weight in weights.items()}
    initial = magnitude_mask(tensors, sparsity, granularity)
    if kind == "random":
        initial = random_mask(tensors, sparsity, seed % 2**31)
    pruner = Pruner(SparsitySchedule(final=sparsity), interval=3, granularity=granularity)
    pruner.start(tensors, initial)
    (threshold,) = thresholds({"a": tensors["a"]}, [sparsity])
    lr = share * max(threshold, 0.01) / 2 / reach([1.0] * 3)
    optimizer = torch.optim.AdamW(
        list(weights.values()), lr=lr, betas=(0.9, 0.98), weight_decay=decay
    )
    pruner.motion = motion_of(optimizer)
    for update in range(12):
        before = pruner.events
        pruner.begin_update(0, update)
        for weight in weights.values():
            weight.grad = torch.randn(40, 5, generator=generator)
        optimizer.step()
        pruner.end_update(update + 1, lr)
        if pruner.events > before:
            assert pruner.reach > 0
            assert pruner.revived == 0.0 or pruner.reach >= 1.0


@pytest.mark.parametrize(
    ("optimizer", "dtype", "known"),
    [
        (torch.optim.Adam, torch.float32, True),
        (torch.optim.AdamW, torch.float32, True),
        (torch.optim.Adam, torch.bfloat16, False),
        (torch.optim.SGD, torch.float32, False),
    ],
)
def test_only_a_known_optimizer_has_a_bound(optimizer, dtype, known):
    motion = motion_of(optimizer([torch.zeros(2, dtype=dtype)], lr=0.1))
    assert math.isfinite(motion.bound) is known


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


def _started(spec, total):
    tensors = {"w": torch.linspace(-1.0, 1.0, 2001)}
    pruner = spec.build(total)
    pruner.start(tensors, magnitude_mask(tensors, pruner.schedule.at(0)))
    pruner.motion = Motion(adam_bound())
    return pruner


@pytest.mark.parametrize(
    ("options", "epoch_ends", "rate", "regrows", "says"),
    [
        ({"interval": 25}, (), 1e-3, False, ["25 updates", "0.042", "50% is 0.5", "as with mpi"]),
        ({"interval": 25}, (), 1e-3, False, ["task.prune.interval=148 or more"]),
        ({"interval": 200}, (), 1e-3, True, ["1 of 2 prunings"]),
        ({"interval": 25}, (), 0.1, True, ["every pruning"]),
        ({"interval": 25}, (), 1e-9, False, ["a higher learning rate"]),
        ({"method": "parp_p", "interval": 1}, (), 1e-3, False, ["10% is 0.1", "as with gmp"]),
        ({"interval": 2, "interval_unit": "epoch"}, (), 1e-3, None, ["148 updates", "not known"]),
        (
            {"interval": 2, "interval_unit": "epoch"},
            range(10, 301, 10),
            1e-3,
            False,
            ["(20 updates)", "interval=15 or more"],
        ),
        ({"method": "mpi"}, (), 1.0, None, None),
        ({"sparsity": 0.0}, (), 1.0, None, None),
    ],
)
def test_a_training_says_what_can_happen(options, epoch_ends, rate, regrows, says):
    pruner = _started(PruningSpec(**options), 300)
    outlook = look_ahead(pruner, [rate] * 300, epoch_ends, "task.prune.interval")
    if says is None:
        assert outlook is None
        return
    assert outlook.regrows is regrows
    assert all(part in outlook.line for part in says), outlook.line
    pruner.motion = Motion()
    assert look_ahead(pruner, [rate] * 300, epoch_ends).regrows is None


def test_the_reach_is_over_what_is_kept_at_every_pruning():
    """What was pruned and hardly moved is far below; it says nothing about who can pass."""
    weight = torch.linspace(0.1, 1.0, 10).requires_grad_()
    optimizer = torch.optim.Adam([weight], lr=1e-3, betas=(0.9, 0.98))
    pruner = Pruner(SparsitySchedule(final=0.5), interval=1, total_updates=4)
    pruner.start({"w": weight.detach()}, magnitude_mask({"w": weight.detach()}, 0.5), 0.5)
    pruner.motion = motion_of(optimizer)
    for update in range(4):
        pruner.begin_update(0, update)
        weight.grad = torch.ones(10)
        optimizer.step()
        pruner.end_update(update + 1, 1e-3)
        assert pruner.reach == pytest.approx(2 * adam_bound() * 1e-3 / 0.6, rel=0.02)


@given(
    st.lists(st.sampled_from([0.0, -0.0, 0.5, -0.5, 1.0, 2.0]), min_size=8, max_size=8),
    st.lists(st.booleans(), min_size=8, max_size=8),
    st.sampled_from(["global", "tensor"]),
)
def test_the_smallest_kept(values, kept, granularity):
    values, kept = torch.tensor(values) * torch.tensor(kept), torch.tensor(kept)
    tensors = {"a": values[:3], "b": values[3:]}
    mask = Mask({"a": kept[:3], "b": kept[3:]})
    found = smallest_kept(tensors, mask, 1.0, granularity)
    assert found == min(values[kept].abs().tolist(), default=math.inf)
