"""Zeroing by threshold and by mask, with mask and meters, against their definitions."""

import pytest
import torch
from arrays import DTYPES, anything, flat
from hypothesis import given
from hypothesis import strategies as st

from parp_fairseq.kernels import bits
from parp_fairseq.kernels.cut import Bound, cut, kept_reference, zero_unset
from parp_fairseq.kernels.words import infinity, value_of, words

# Of each type and layout: mixed in one call.
MIXED = st.lists(
    st.sampled_from(DTYPES)
    .flatmap(flat)
    .flatmap(
        lambda tensor: st.sampled_from(["flat", "columns", "strided"]).map(
            lambda layout: laid_out(tensor, layout)
        )
    ),
    min_size=1,
    max_size=4,
)


def laid_out(tensor, layout):
    """The same entries as a transposed matrix, or as every second one of a longer tensor."""
    if layout == "columns" and tensor.numel() % 2 == 0:
        return tensor.clone().view(2, -1).t()
    if layout == "strided":
        return tensor.repeat_interleave(2)[::2]
    return tensor


def same_bits(one, two):
    integers = words(one).dtype
    return torch.equal(one.contiguous().view(integers), two.contiguous().view(integers))


def untouched(tensor):
    """A copy of the same layout."""
    copy = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)
    return copy.copy_(tensor)


@st.composite
def bound(draw, tensor):
    top = infinity(tensor.dtype) - 1
    known = [word for word in words(tensor).flatten().tolist() if word <= top] or [0]
    word = draw(st.one_of(st.sampled_from(known), st.sampled_from([0, top])))
    edges = [ties for ties in (0, 1, 63, 64, 65, 127, 128, 129) if ties <= tensor.numel()]
    ties = st.one_of(st.integers(0, tensor.numel()), st.sampled_from([*edges, tensor.numel()]))
    return Bound(word, draw(ties))


@anything
@given(MIXED, st.data(), st.booleans(), st.booleans(), st.integers(0, 2))
def test_a_cut_is_its_definition(level, tensors, data, zero, pack, compared):
    bounds = [data.draw(bound(tensor)) for tensor in tensors]
    keep = [kept_reference(tensor.reshape(-1), bound) for tensor, bound in zip(tensors, bounds)]
    generator = torch.Generator().manual_seed(compared)
    others = [
        [torch.rand(kept.shape, generator=generator) < 0.5 for kept in keep]
        for _ in range(compared)
    ]
    own = [untouched(tensor) for tensor in tensors]
    found = cut(
        own,
        bounds,
        zero=zero,
        pack=pack,
        others=[[bits.pack(other) for other in masks] for masks in others],
    )
    assert found.kept == [int(kept.sum()) for kept in keep]
    assert found.both == [
        sum(int((kept & other).sum()) for kept, other in zip(keep, masks)) for masks in others
    ]
    assert len(found.masks) == (len(tensors) if pack else 0)
    for packed, kept in zip(found.masks, keep):
        assert torch.equal(packed, bits.pack(kept))
    for tensor, before, kept in zip(own, tensors, keep):
        expected = before.masked_fill(~kept.view(before.shape), 0) if zero else before
        assert same_bits(tensor, expected)
        assert tensor.stride() == before.stride()


@anything
@given(st.sampled_from(DTYPES).flatmap(lambda dtype: flat(dtype, finite=True)), st.data())
def test_the_definition_is_that_of_floats(tensor, data):
    word, ties = data.draw(bound(tensor))
    threshold = value_of(word, tensor.dtype)
    expected = [
        abs(value) > threshold or (abs(value) == threshold and position >= ties)
        for position, value in enumerate(tensor.double().tolist())
    ]
    assert kept_reference(tensor, Bound(word, ties)).tolist() == expected


@anything
@given(MIXED, st.integers(0, 2**32))
def test_zeroing_by_masks(level, tensors, seed):
    generator = torch.Generator().manual_seed(seed)
    keep = [torch.rand(tensor.shape, generator=generator) < 0.5 for tensor in tensors]
    own = [untouched(tensor) for tensor in tensors]
    zero_unset(own, [bits.pack(kept) for kept in keep])
    for tensor, before, kept in zip(own, tensors, keep):
        assert same_bits(tensor, before.masked_fill(~kept, 0))


def test_neighbours_in_memory_stay(level):
    """Views into one vector, as flat fp16 masters are, at odd places."""
    whole = torch.ones(1000)
    views = [whole[3:70], whole[71:200], whole[201:999]]
    none = [torch.zeros((view.numel() + 7) // 8, dtype=torch.uint8) for view in views]
    zero_unset(views, none)
    assert whole.nonzero().view(-1).tolist() == [0, 1, 2, 70, 200, 999]
    cut([whole], [Bound(0, 0)], zero=True)
    assert int(whole.sum()) == 6


@pytest.mark.parametrize("count", [72, 144, 500])
def test_many_tensors_as_large_models_have(count):
    """Addresses of more than 128 tensors are no longer kept by numpy's cache of small arrays."""
    draw = torch.Generator().manual_seed(count)
    for _ in range(20):
        tensors = [torch.randn(9, 7, generator=draw) for _ in range(count)]
        keep = [torch.rand(9, 7, generator=draw) < 0.5 for _ in tensors]
        wanted = [tensor * kept for tensor, kept in zip(tensors, keep)]
        zero_unset(tensors, [bits.pack(kept) for kept in keep])
        assert all(torch.equal(tensor, want) for tensor, want in zip(tensors, wanted))
        masks = [bits.pack(kept) for kept in keep]
        found = cut(tensors, [Bound(0, 63)] * count, pack=True, others=[masks])
        assert found.kept == [int(kept.sum()) for kept in keep]
        assert found.both == [sum(found.kept)]
