"""Masks: counts and IOU."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parp_fairseq.pruning import Mask, iou, random_mask
from parp_fairseq.pruning.arguments import PruningError

BITS = st.lists(st.booleans(), min_size=1, max_size=40)


def mask_of(bits, **more):
    return Mask({"w": torch.tensor(bits), **more})


@given(BITS)
def test_counts(bits):
    mask = mask_of(bits)
    assert mask.numel == len(bits)
    assert mask.kept == sum(bits)
    assert mask.sparsity == pytest.approx(bits.count(False) / len(bits))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_iou_is_that_of_sets(pairs):
    a = {i for i, (x, _) in enumerate(pairs) if x}
    b = {i for i, (_, y) in enumerate(pairs) if y}
    expected = len(a & b) / len(a | b) if a | b else 1.0
    assert iou(mask_of([x for x, _ in pairs]), mask_of([y for _, y in pairs])) == expected


def test_iou_refuses_masks_of_different_tensors():
    with pytest.raises(ValueError, match="different tensors"):
        iou(mask_of([True]), Mask({"v": torch.tensor([True])}))


def test_refuses_what_is_not_bool():
    with pytest.raises(TypeError, match="not bool"):
        Mask({"w": torch.ones(3)})


def test_renamed_meets_names_with_a_prefix():
    mask = Mask({"encoder.layers.0.fc1.weight": torch.tensor([True, False])})
    name = "w2v_encoder.w2v_model.encoder.layers.0.fc1.weight"
    assert list(mask.renamed({name: (2,)}, "m")) == [name]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"w": (2,), "v": (1,)}, "has no mask for v"),
        ({}, "also masks w"),
        ({"w": (1, 2)}, r"shape \(2,\) and the model's tensor \(1, 2\)"),
    ],
)
def test_renamed_refuses_another_model(names, message):
    with pytest.raises(PruningError, match=message):
        mask_of([True, False]).renamed(names, "file")


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1), st.integers(0, 2**31), st.integers(1, 200))
def test_random_mask_prunes_exactly_and_repeats(sparsity, seed, size):
    tensors = {"a": torch.empty(size), "b": torch.empty(3, 5)}
    mask = random_mask(tensors, sparsity, seed)
    assert mask.numel - mask.kept == round(sparsity * (size + 15))
    before = torch.random.get_rng_state()
    assert random_mask(tensors, sparsity, seed).equal(mask)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_random_masks_of_other_seeds_differ_and_spread():
    tensors = {"a": torch.empty(100, 100), "b": torch.empty(100, 100)}
    one, two = (random_mask(tensors, 0.5, seed) for seed in (0, 1))
    assert not one.equal(two)
    # 5,000 of each 10,000 expected, standard deviation 35.
    assert all(abs(int(one[name].sum()) - 5000) < 250 for name in one)
