"""Nested levels, against what they are, written out."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_pruner import Run, equal

from parp_fairseq.pruning import PruningError, PruningSpec, magnitude_mask

UPDATES, DENSEST, LEVELS, SEED = 14, 0.3, [0.5, 0.8], 7


def pruner(interval):
    options = {"sparsities": LEVELS, "initial_sparsity": 0.1, "interval": interval, "seed": SEED}
    return PruningSpec("nested", DENSEST, **options).build(UPDATES)


def written_out(interval):
    """Climb like gradual pruning; then in each update only what the drawn level keeps moves."""
    run, made = Run(), pruner(interval)
    mask = magnitude_mask(run.weights, 0.1)
    run.multiply(mask)
    masks = None
    for update in range(UPDATES):
        before = run.copy()
        if masks is None and mask_sparsity(mask) == round(DENSEST * 39):
            masks = [mask, *(magnitude_mask(run.weights, level) for level in LEVELS)]
        level = masks[drawn(update)] if masks else mask
        run.multiply(level)
        run.optimizer.zero_grad()
        flat = torch.cat([weight.flatten() for weight in run.weights.values()])
        (flat - run.target).pow(2).sum().backward()
        run.optimizer.step()
        for name, weight in run.weights.items():
            weight.data = torch.where(level[name], weight.data, before[name]) * mask[name]
        if (update + 1) % interval == 0 or update + 1 == UPDATES:
            mask = magnitude_mask(run.weights, made.schedule.at(update + 1))
            run.multiply(mask)
            masks = None
    return run.copy()


def mask_sparsity(mask):
    return mask.numel - mask.kept


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, UPDATES - 1))
def test_it_is_what_is_written_out_and_resumes(interval, stop):
    run, nested = Run(), pruner(interval)
    nested.start(run.weights, magnitude_mask(run.weights, 0.1))
    run.through(nested, 0, UPDATES)
    assert equal(run.copy(), written_out(interval))
    theta = run.copy()
    masks = [magnitude_mask(theta, level) for level in (DENSEST, *LEVELS)]
    assert masks[0].equal(nested.mask)
    for dense, sparse in zip(masks, masks[1:]):
        assert all(bool((dense[name] | ~sparse[name]).all()) for name in dense)

    begun, again = Run(), Run()
    first = pruner(interval)
    first.start(begun.weights, magnitude_mask(begun.weights, 0.1))
    begun.through(first, 0, stop)
    again.optimizer.load_state_dict(begun.optimizer.state_dict())
    for name, weight in again.weights.items():
        weight.data.copy_(begun.weights[name])
    second = pruner(interval)
    second.restore(again.weights, first.state_dict())
    again.through(second, stop, UPDATES)
    assert equal(again.copy(), theta)


@pytest.mark.parametrize(
    ("method", "sparsities", "message"),
    [
        ("nested", [], "is missing: give the sparsities"),
        ("nested", [0.3, 0.5], "give fractions that rise, above sparsity"),
        ("nested", [0.8, 0.5], "give fractions that rise"),
        ("nested", [0.8, 1.5], "give fractions that rise"),
        ("parp", [0.8], "is not supported by method parp"),
    ],
)
def test_levels_that_are_none(method, sparsities, message):
    with pytest.raises(PruningError, match=message):
        PruningSpec(method, 0.3, sparsities=sparsities).check()


def test_an_update_that_is_repeated_trains_its_level_and_what_is_saved_is_the_densest():
    """Where a loss scaler skips an update, a validation and a checkpoint may come in between."""
    run, nested = Run(), pruner(5)
    nested.start(run.weights, magnitude_mask(run.weights, 0.1))
    run.through(nested, 0, 10)
    update = next(u for u in range(10, 99) if drawn(u))
    theta = run.copy()
    nested.begin_update(0, update)
    level = run.copy()
    assert zeros(level) == round(LEVELS[drawn(update) - 1] * 39) > zeros(theta)
    assert not nested.mask_applied
    assert equal({name: nested.masked(name, w.detach()) for name, w in run.weights.items()}, theta)
    with nested.subnetwork():  # validation
        assert nested.mask_applied and equal(run.copy(), theta)
    nested.restore_weights()  # training mode, as the criterion has it
    assert equal(run.copy(), level)
    nested.state_dict()
    assert equal(run.copy(), theta)
    nested.restore_weights()
    nested.end_update(update + 1)
    assert equal(run.copy(), theta)
    nested.restore_weights()
    assert equal(run.copy(), theta)
    nested.begin_update(0, update)
    nested.release()
    nested.restore_weights()
    assert equal(run.copy(), theta)


def drawn(update):
    draw = random.Random(f"{SEED} {update}")
    return 2 if draw.random() < 1 / 3 else draw.randrange(3)


def zeros(tensors):
    return sum(int((tensor == 0).sum()) for tensor in tensors.values())
