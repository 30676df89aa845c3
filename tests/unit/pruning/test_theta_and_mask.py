"""θ under a mask and without it."""

import pytest
import torch

from parp_fairseq.pruning import random_mask
from parp_fairseq.pruning.weights import Theta


def bits(tensors):
    return {name: tensor.view(torch.int32).clone() for name, tensor in tensors.items()}


@pytest.mark.parametrize("half", [False, True])
def test_a_mask_is_laid_over_and_taken_off_bit_by_bit(half):
    tensors = {"a": torch.randn(5, 7).t(), "b": torch.randn(9)}
    tensors["b"][:3] = -0.0
    copies = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()} if half else {}
    before = bits(tensors)
    rounded = {name: copy.clone() for name, copy in copies.items()}
    theta, mask = Theta(tensors, copies), random_mask(tensors, 0.6, 1)
    hidden = theta.hidden_by(mask)
    assert bits(tensors)["a"].equal(before["a"]), "looking changes nothing"
    theta.lay_over(mask)
    assert theta.cover is mask
    for name, tensor in (*tensors.items(), *copies.items()):
        assert bool((tensor[~mask[name]] == 0).all())
    again = theta.hidden_by(mask)
    assert all(torch.equal(again[name], hidden[name]) for name in hidden)
    theta.take_off()
    theta.take_off()
    assert theta.cover is None
    after = bits(tensors)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert all(torch.equal(copies[name], rounded[name]) for name in copies)


def test_what_is_zeroed_stays_zero():
    tensors = {"a": torch.ones(8)}
    mask = random_mask(tensors, 0.5, 1)
    theta = Theta(tensors)
    theta.zero_(mask)
    theta.lay_over(mask)
    theta.take_off()
    assert int((tensors["a"] == 0).sum()) == 4
