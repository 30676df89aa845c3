import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parp_fairseq.pruning import Mask, PruningError, iou, random_mask
from parp_fairseq.pruning.mask import difference, kept_by_both

NAME = "encoder.layers.0.fc1.weight"


@pytest.mark.legacy
@settings(deadline=None, max_examples=60)
@given(
    shapes=st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.tuples(st.integers(0, 9), st.integers(1, 9)),
        min_size=1,
    ),
    seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)),
    sparsities=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_counts_and_iou_are_those_of_bool_tensors(shapes, seeds, sparsities):
    tensors = {name: torch.empty(shape) for name, shape in shapes.items()}
    one, other = (random_mask(tensors, s, seed) for seed, s in zip(seeds, sparsities))
    assert one.kept == sum(int(one[name].sum()) for name in one)
    assert one.sparsity == (1 - one.kept / one.numel if one.numel else 0.0)
    for names in (None, sorted(shapes)[:1]):
        both = sum(int((one[name] & other[name]).sum()) for name in names or one)
        either = sum(int((one[name] | other[name]).sum()) for name in names or one)
        assert kept_by_both(one, other, names) == both
        assert iou(one, other, names) == (both / either if either else 1.0)


def test_what_differs_is_named():
    shapes = {"a": (2, 3), "b": (4,)}
    assert difference(shapes, dict(shapes)) is None
    assert difference(shapes, {"a": (2, 3)}) == "has no mask for b"
    assert difference(shapes, {**shapes, "x": (2,)}) == "also masks x"
    assert difference(shapes, {**shapes, "b": (5,)}) == "masks b as (5,) and not as (4,)"
    one, other = Mask({"w": torch.ones(1).bool()}), Mask({"v": torch.ones(1).bool()})
    with pytest.raises(ValueError, match="different tensors: the second has no mask for w"):
        iou(one, other)


def test_names_with_and_without_prefixes_meet():
    mask = Mask({NAME: torch.tensor([True, False])})
    name = f"module.w2v_encoder.w2v_model.{NAME}"
    renamed = mask.renamed({name: (2,)}, "m")
    assert list(renamed) == [name] and renamed.canonical().equal(mask)
    with pytest.raises(PruningError, match=r"m: this mask masks .* as \(2,\) and not as \(1, 2\)"):
        mask.renamed({name: (1, 2)}, "m")
    twice = Mask({NAME: mask[NAME], name: mask[NAME]})
    with pytest.raises(ValueError, match="masked twice"):
        twice.canonical()


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
    one, two = (random_mask(tensors, 0.5, seed) for seed in (-(2**63), 2**64 - 1))
    assert not one.equal(two)
    # 5,000 of each 10,000 expected, standard deviation 35.
    assert all(abs(int(one[name].sum()) - 5000) < 250 for name in one)
    for seed in (-(2**63) - 1, 2**64):
        with pytest.raises(PruningError, match=f"seed is {seed}; give one from"):
            random_mask(tensors, 0.5, seed)
