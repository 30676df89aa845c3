import pytest
import torch

from parp_fairseq.pruning import random_mask
from parp_fairseq.pruning.weights import MaskedWeights, fill_


@pytest.mark.parametrize("half", [False, True])
def test_a_mask_is_applied_and_the_weights_restored_bit_by_bit(half):
    tensors = {"a": torch.randn(5, 7).t(), "b": torch.randn(9)}
    tensors["b"][:3] = -0.0
    copies = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()} if half else {}
    both = {**tensors, **{f"copy of {name}": copy for name, copy in copies.items()}}
    before = {name: tensor.clone() for name, tensor in both.items()}
    weights, mask = MaskedWeights(tensors, copies), random_mask(tensors, 0.6, 1)
    values = weights.pruned_values(mask)
    assert all(torch.equal(both[name], before[name]) for name in both), "looking changes nothing"
    weights.apply(mask)
    assert weights.applied is mask
    for name, tensor in (*tensors.items(), *copies.items()):
        assert bool((tensor[~mask[name]] == 0).all())
    again = weights.pruned_values(mask)
    assert all(torch.equal(again[name], values[name]) for name in values)
    weights.restore()
    weights.restore()
    assert weights.applied is None
    for name, tensor in both.items():
        assert torch.equal(tensor, before[name])
        assert torch.equal(tensor.signbit(), before[name].signbit())


def test_values_of_another_mask_are_refused():
    with pytest.raises(ValueError, match="3 values for 2 pruned entries"):
        fill_(torch.zeros(4), torch.tensor([True, True, False, False]), torch.ones(3))
