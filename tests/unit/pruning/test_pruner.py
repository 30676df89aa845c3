"""The Pruner, through real optimizer steps, against algorithm 1 written out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parp_fairseq.pruning import (
    Mask,
    Pruner,
    PruningError,
    SparsitySchedule,
    iou,
    magnitude_mask,
    random_mask,
)

UPDATES = 12


class Run:
    """A small training whose gradients depend on the weights."""

    def __init__(self, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.weights = {
            "a": torch.randn(6, 5, generator=generator, requires_grad=True),
            "b": torch.randn(9, generator=generator, requires_grad=True),
        }
        self.target = torch.randn(39, generator=generator)
        self.optimizer = torch.optim.Adam(self.weights.values(), lr=0.1)

    def update(self):
        self.optimizer.zero_grad()
        flat = torch.cat([weight.flatten() for weight in self.weights.values()])
        (flat - self.target).pow(2).sum().backward()
        self.optimizer.step()

    def through(self, pruner, first, last, see=lambda: None):
        """Update `first` to `last`, calling `see` after each."""
        for update in range(first, last):
            pruner.begin_update(0, update)
            self.update()
            pruner.end_update(update + 1)
            see()

    def copy(self):
        return {name: weight.detach().clone() for name, weight in self.weights.items()}

    def multiply(self, mask):
        for name, weight in self.weights.items():
            weight.data *= mask[name]


def equal(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


def written_out(schedule, interval, static):
    """Algorithm 1 (and PARP-P) as the paper has it: mask, train n updates, mask again.

    Static, it is gradual magnitude pruning as it is usually written: w *= m after every step.
    """
    run = Run()
    mask = magnitude_mask(run.weights, schedule.at(0))
    run.multiply(mask)
    for update in range(1, UPDATES + 1):
        run.update()
        if static:
            run.multiply(mask)
        if update % interval == 0 or update == UPDATES:
            mask = magnitude_mask(run.weights, schedule.at(update))
            run.multiply(mask)
    return run.copy()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, UPDATES + 2),
    st.sampled_from([0.0, 0.3, 0.8, 1.0]),
    st.sampled_from([0.0, 0.2]),
    st.integers(0, UPDATES),
    st.lists(st.booleans(), min_size=UPDATES, max_size=UPDATES),
    st.booleans(),
)
def test_is_algorithm_1_and_looking_changes_nothing(interval, final, initial, rise, looks, static):
    schedule = SparsitySchedule(max(final, initial), initial, rise, "cubic" if static else "linear")
    run = Run()
    pruner = Pruner(schedule, interval=interval, total_updates=UPDATES, static=static)
    pruner.start(run.weights, magnitude_mask(run.weights, schedule.at(0)))
    for update in range(UPDATES):
        pruner.begin_update(0, update)
        run.update()
        before = pruner.mask
        pruner.end_update(update + 1)
        if static:
            assert not any(bool((pruner.mask[n] & ~before[n]).any()) for n in before), "regrown"
        # A static one is at the sparsity of its last event.
        reached = update + 1 >= rise or schedule.final <= initial
        assert static or pruner.at_target == reached
        if looks[update]:
            theta, mask = run.copy(), pruner.current_mask()
            assert mask.equal(magnitude_mask(theta, pruner.sparsity))
            subnetwork = {name: weight * mask[name] for name, weight in theta.items()}
            saved = {name: pruner.masked(name, weight) for name, weight in theta.items()}
            pruner.state_dict()
            assert equal(saved, subnetwork) and equal(run.copy(), theta)
            pruner.apply_mask()
            assert equal(run.copy(), subnetwork)
            pruner.state_dict()
            if update % 2:
                pruner.restore_weights()
                assert equal(run.copy(), theta)
    expected = written_out(schedule, interval, static)
    assert equal(run.copy(), expected)
    zeros = sum(int((weight == 0).sum()) for weight in expected.values())
    assert zeros == round(schedule.final * 39) and pruner.at_target


def test_pruned_weights_move_and_can_regrow():
    """With one regrown entry of two, `revived` is one half and the IOU one third."""
    weights = {"w": torch.tensor([1.0, 2.0, 3.0, 4.0])}
    pruner = Pruner(SparsitySchedule(final=0.5), interval=2, total_updates=2)
    pruner.start(weights, magnitude_mask(weights, 0.5))
    assert weights["w"].tolist() == [0, 0, 3, 4]
    pruner.begin_update(0, 0)
    weights["w"] += torch.tensor([9.0, 1.0, 0.0, 0.0])
    pruner.end_update(1)
    assert weights["w"].tolist() == [9, 1, 3, 4]
    pruner.begin_update(0, 1)
    pruner.end_update(2)
    assert weights["w"].tolist() == [9, 0, 0, 4]
    assert (pruner.revived, pruner.mask_iou, pruner.threshold) == (0.5, 1 / 3, 3.0)


def test_epochs_prune_before_the_first_update_of_the_next():
    run = Run()
    pruner = Pruner(SparsitySchedule(final=0.5), interval=2, unit="epoch", total_updates=100)
    pruner.start(run.weights, magnitude_mask(run.weights, 0.5))
    events = []
    for update in range(12):  # three updates an epoch
        pruner.begin_update(update // 3, update)
        events.append(pruner.events)
        run.update()
        pruner.end_update(update + 1)
    assert events == [0] * 6 + [1] * 6


@settings(max_examples=30, deadline=None)
@given(st.integers(1, UPDATES - 1), st.integers(1, 5), st.booleans(), st.booleans())
def test_resuming_changes_nothing(stop, interval, static, ramps):
    schedule = SparsitySchedule(final=0.7, initial=0.2, rise=8 if ramps else 0)

    def started(run):
        pruner = Pruner(schedule, interval=interval, total_updates=UPDATES, static=static)
        pruner.start(run.weights, magnitude_mask(run.weights, schedule.at(0)))
        return pruner

    whole, run, again = Run(), Run(), Run()
    pruner = started(whole)
    whole.through(pruner, 0, UPDATES)
    before = started(run)
    run.through(before, 0, stop)
    state = before.state_dict()
    again.optimizer.load_state_dict(run.optimizer.state_dict())
    for name, weight in again.weights.items():
        weight.data.copy_(before.masked(name, run.weights[name]))
    after = Pruner(schedule, interval=interval, total_updates=UPDATES, static=static)
    after.restore(again.weights, state)
    assert equal(again.copy(), run.copy())
    again.through(after, stop, UPDATES)
    assert equal(again.copy(), whole.copy())
    assert after.current_mask().equal(pruner.current_mask())
    for meter in ("revived", "mask_iou", "sparsity"):
        assert getattr(after, meter) == getattr(pruner, meter)


@pytest.mark.parametrize(
    ("settings", "size", "change", "message"),
    [
        ({"a.sparsity": 0.7, "a.seed": 1}, 4, {}, r"^a\.sparsity was 0\.5 .* is now 0\.7"),
        # An option that one of them does not know: added since, or of ramps only.
        ({"a.sparsity": 0.5, "a.new": 1}, 5, {}, "another model or scope"),
        ({}, 4, {"version": 1}, "version 1, this program reads version 2"),
    ],
)
def test_what_cannot_be_restored(settings, size, change, message):
    weights = {"w": torch.randn(4)}
    old = Pruner(SparsitySchedule(final=0.5), settings={"a.sparsity": 0.5, "a.rise": 0.1})
    old.start(weights, magnitude_mask(weights, 0.5))
    new = Pruner(SparsitySchedule(final=0.5), settings=settings)
    with pytest.raises(PruningError, match=message):
        new.restore({"w": torch.randn(size)}, {**old.state_dict(), **change})


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 0.0, -0.0, 1.0, -1.0, 2.0, 3.0]), min_size=12, max_size=12),
    st.integers(0, 99),
    st.sampled_from([0.25, 0.5]),
    st.sampled_from(["global", "tensor"]),
)
def test_what_gradual_pruning_took_stays_pruned_next_to_zeros(values, seed, begin, granularity):
    """Weights that are kept and zero tie with those that were pruned, which go first."""
    weights = {"a": torch.tensor(values[:8]).view(2, 4), "b": torch.tensor(values[8:])}
    schedule = SparsitySchedule(final=0.75, initial=begin, rise=4)
    pruner = Pruner(schedule, interval=1, total_updates=5, static=True, granularity=granularity)
    first = (
        random_mask(weights, begin, seed)
        if granularity == "global"
        else Mask({name: random_mask({name: w}, begin, seed)[name] for name, w in weights.items()})
    )
    pruner.start(weights, first)
    groups = [["a", "b"]] if granularity == "global" else [["a"], ["b"]]
    for update in range(1, 6):
        pruner.begin_update(0, update - 1)
        before = pruner.mask
        moved = {name: w + 1.0 * (update == 3) * before[name] for name, w in weights.items()}
        for name, weight in weights.items():
            weight.copy_(moved[name])
        pruner.end_update(update)
        for group in groups:
            kept = torch.cat([before[name].flatten() for name in group]).tolist()
            size = torch.cat([moved[name].flatten() for name in group]).abs().tolist()
            order = sorted(range(len(size)), key=lambda i: (kept[i], size[i], i))
            pruned = order[: round(schedule.at(update) * len(order))]
            after = torch.cat([pruner.mask[name].flatten() for name in group])
            assert (~after).nonzero().flatten().tolist() == sorted(pruned)
        assert pruner.revived == 0.0
        assert pruner.mask_iou == iou(pruner.initial_mask, pruner.mask)
        assert all(bool((w[~pruner.mask[n]] == 0).all()) for n, w in weights.items())


def test_the_mask_is_applied_only_inside_a_block():
    run = Run()
    pruner = Pruner(SparsitySchedule(0.8, 0.2, rise=8), interval=5, total_updates=UPDATES)
    with pytest.raises(RuntimeError, match="no state"):
        pruner.state_dict()
    pruner.start(run.weights, magnitude_mask(run.weights, 0.2))
    run.through(pruner, 0, 3)
    theta = run.copy()
    with pruner.subnetwork() as mask:
        shown = run.copy()
        assert equal(shown, {name: weight * mask[name] for name, weight in theta.items()})
        with pruner.subnetwork() as again:
            assert again is mask
        assert equal(run.copy(), shown)
        assert pruner.masked("a", run.weights["a"]) is run.weights["a"]
        inside = pruner.state_dict()
    assert equal(run.copy(), theta)
    outside = pruner.state_dict()
    assert equal(inside["shadow"], outside["shadow"])
    assert pruner.sparsity == pytest.approx(0.2 + 0.6 * 3 / 8)
