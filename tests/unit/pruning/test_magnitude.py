"""Exact selection, against a brute-force stable sort."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parp_fairseq.kernels import native
from parp_fairseq.kernels.words import infinity, word_of
from parp_fairseq.pruning import Mask, PruningError, magnitude, magnitude_mask, random_mask
from parp_fairseq.pruning.magnitude import select_smallest

# Few distinct values: ties everywhere, signs and zeros of both kinds among them.
VALUES = st.sampled_from([0.0, -0.0, 0.5, -0.5, 1.0, 2.0, -2.0, 3.0])
SHAPES = st.sampled_from([(1,), (7,), (3, 4), (2, 3, 2)])


@st.composite
def tensors(draw):
    names = draw(st.lists(st.text("abc0.", min_size=1, max_size=4), unique=True, max_size=4))
    found = {}
    for name in names or ["w"]:
        shape = draw(SHAPES)
        count = int(torch.tensor(shape).prod())
        values = draw(st.lists(VALUES, min_size=count, max_size=count))
        found[name] = torch.tensor(values).view(shape)
    return found


def brute_force(named, sparsity):
    """Sort all entries by (magnitude, name, position); the first round(s*d) go."""
    entries = sorted(
        (abs(value), name, position)
        for name, tensor in named.items()
        for position, value in enumerate(tensor.flatten().tolist())
    )
    keep = {name: torch.ones(tensor.numel(), dtype=torch.bool) for name, tensor in named.items()}
    for _, name, position in entries[: round(sparsity * len(entries))]:
        keep[name][position] = False
    return Mask({name: keep[name].view(tensor.shape) for name, tensor in named.items()})


@settings(max_examples=300, deadline=None)
@given(tensors(), st.floats(0, 1))
def test_equals_brute_force(named, sparsity):
    assert magnitude_mask(named, sparsity).equal(brute_force(named, sparsity))
    mask = magnitude_mask(named, sparsity, "tensor")
    for name, tensor in named.items():
        assert torch.equal(mask[name], brute_force({name: tensor}, sparsity)[name])


@pytest.fixture
def small_blocks(monkeypatch):
    """Let a few entries take the way of many: samples, brackets, several blocks and threads."""
    monkeypatch.setattr(magnitude, "_FEW", 4)
    monkeypatch.setattr(magnitude, "_STRIDE", 3)
    monkeypatch.setattr(magnitude, "_BLOCK", 8)
    monkeypatch.setattr(native, "TILE", 64)


@pytest.fixture(params=["reference", *native.available()])
def level(request, monkeypatch):
    """Each code that can run here."""
    monkeypatch.setenv("PARP_KERNELS", request.param)
    return request.param


# Which tensors are taken for another device's, whose operations a CPU has too.
REMOTE = {
    "none": lambda tensor: False,
    "all": lambda tensor: True,
    "some": lambda tensor: tensor.numel() % 2 == 0,
}


def words_between(low, high):
    """The bracket (low, high] in words of fp32, from `low` itself where it is 0."""
    ends = infinity(torch.float32) if high == float("inf") else word_of(high, torch.float32) + 1
    return 0 if low < 0 else word_of(low, torch.float32) + 1, ends


# What a bracket may meet: a good one, a wrong one, and more entries inside than may be copied.
BRACKETS = {
    "sampled": None,
    "too low": (-1.0, 0.25),
    "too high": (2.5, 3.5),
    "empty": (0.6, 0.7),
    "zeros below": (0.0, 0.5),
    "all inside": (-1.0, float("inf")),
}


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    tensors(),
    st.floats(0, 1),
    st.sampled_from(sorted(BRACKETS)),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([0.0, 0.5, 1.0, 1.2, 9.0]),
    st.sampled_from(sorted(REMOTE)),
)
def test_many_entries_equal_brute_force(
    level, small_blocks, named, sparsity, bracket, copied, hint, remote
):
    given_bracket = BRACKETS[bracket]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(magnitude, "_COPIED", copied)
        patch.setattr(native, "is_remote", REMOTE[remote])
        if given_bracket is not None:
            patch.setattr(magnitude, "_sampled", lambda *arguments: words_between(*given_bracket))
        mask = select_smallest(named, sparsity, hint=hint).mask(named)
    assert mask.equal(brute_force(named, sparsity))


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.integers(0, 12), min_size=5, max_size=40),
    st.floats(0, 1),
    st.tuples(st.integers(0, 13), st.integers(0, 13)),
)
def test_neighbouring_numbers_under_any_guess(small_blocks, numbers, sparsity, guess):
    """The smallest numbers that fp32 has, each one word after the other."""
    named = {"w": torch.tensor(numbers, dtype=torch.int32).view(torch.float32)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(magnitude, "_FEW", 1)
        patch.setattr(magnitude, "_sampled", lambda *arguments: guess)
        mask = magnitude_mask(named, sparsity)
    assert mask.equal(brute_force(named, sparsity))


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9, 0.999])
def test_a_million_entries_equal_a_stable_sort(sparsity):
    """Large enough for the sample, with rows of different scale, zeros and ties among them."""
    generator = torch.Generator().manual_seed(3)
    named = {
        "a": torch.randn(700, 1024, generator=generator) * torch.logspace(-2, 1, 1024),
        "b": (torch.randn(300, 1000, generator=generator) * 8).round() / 8,
        "c": torch.randn(40, 1000, generator=generator).relu(),
    }
    flat = torch.cat([named[name].flatten().abs() for name in "abc"])
    keep = torch.ones_like(flat, dtype=torch.bool)
    keep[flat.sort(stable=True).indices[: round(sparsity * flat.numel())]] = False
    parts = keep.split([named[name].numel() for name in "abc"])
    mask = magnitude_mask(named, sparsity)
    for name, part in zip("abc", parts):
        assert torch.equal(mask[name].flatten(), part)


def test_a_frozen_model_is_pruned_to_the_same_mask_again():
    """Half of the entries are zero by then, which no bracket can hold."""
    named = {"w": torch.randn(600, 600, generator=torch.Generator().manual_seed(1))}
    first = select_smallest(named, 0.5)
    mask = first.mask(named)
    first.cut(named, zero=True)
    second = select_smallest(named, 0.5)
    assert second.threshold == 0.0
    assert second.mask(named).equal(mask)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(tensors(), st.data(), st.floats(0, 1), st.sampled_from(["global", "tensor"]), st.booleans())
def test_a_cut_gives_zeros_mask_and_counts(
    level, small_blocks, named, data, sparsity, granularity, same
):
    kinds = st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16])
    named = {name: tensor.to(data.draw(kinds)) for name, tensor in named.items()}
    if data.draw(st.booleans()):
        named = {name: t.permute(*range(t.dim())[::-1]) for name, t in named.items()}
    previous = random_mask(named, 0.4, seed=1)
    others = [previous, previous if same else random_mask(named, 0.7, seed=2)]
    expected = magnitude_mask(named, sparsity, granularity)
    own, multiplied = (
        {name: t.clone(memory_format=torch.preserve_format) for name, t in named.items()}
        for _ in range(2)
    )
    remote = REMOTE[data.draw(st.sampled_from(sorted(REMOTE)))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "is_remote", remote)
        selection = select_smallest(own, sparsity, granularity)
        mask, both = selection.cut(own, *others, zero=True)
        expected.zero_(multiplied)
    assert mask.equal(expected)
    assert mask.kept == sum(int(keep.sum()) for keep in expected.values())
    for name, tensor in named.items():
        zeroed = tensor.masked_fill(~expected[name], 0)
        assert torch.equal(own[name], zeroed) and torch.equal(multiplied[name], zeroed)
        assert own[name].stride() == tensor.stride()
    for count, other in zip(both, others):
        assert count == sum(int((expected[name] & other[name]).sum()) for name in named)
    if granularity == "global":
        assert expected.equal(brute_force(named, sparsity))
    pruned = [named[name][~expected[name]].abs().double() for name in named]
    largest = max((float(part.max()) for part in pruned if part.numel()), default=0.0)
    assert selection.threshold == largest


def test_a_selection_refused_changes_nothing():
    weights = {"a": torch.ones(100), "b": torch.tensor([1.0, float("nan")])}
    with pytest.raises(PruningError, match="b holds NaN"):
        select_smallest(weights, 0.9, "tensor").cut(weights, zero=True)
    assert torch.equal(weights["a"], torch.ones(100))


def test_autograd_sees_that_weights_have_changed():
    weight = torch.ones(200, requires_grad=True)
    product = (weight * weight).sum()
    select_smallest({"w": weight}, 0.5).cut({"w": weight}, zero=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


@pytest.mark.parametrize("few", [1 << 16, 1])
@pytest.mark.parametrize("remote", sorted(REMOTE))
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_names_the_tensor_that_cannot_be_ranked(level, bad, sparsity, remote, few, monkeypatch):
    """Also where an earlier tensor holds more than may be copied."""
    monkeypatch.setattr(native, "is_remote", REMOTE[remote])
    monkeypatch.setattr(magnitude, "_FEW", few)
    with pytest.raises(PruningError, match="second holds NaN or infinity"):
        magnitude_mask({"first": torch.ones(300), "second": torch.tensor([1.0, bad])}, sparsity)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((90,), "between 0 and 1"),
        ((float("nan"),), "between 0 and 1"),
        ((0.5, "layer"), "granularity"),
    ],
)
def test_refuses_what_makes_no_sense(options, message):
    with pytest.raises(PruningError, match=message):
        magnitude_mask({"w": torch.ones(3)}, *options)
