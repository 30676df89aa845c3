"""Exact selection, against a brute-force stable sort and against torch's own pruning."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn.utils import prune

from parp_fairseq.kernels import batch, native
from parp_fairseq.kernels.words import infinity, word_of
from parp_fairseq.pruning import Mask, PruningError, magnitude, magnitude_mask, random_mask
from parp_fairseq.pruning.magnitude import prune_, select_smallest

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
    monkeypatch.setattr(batch, "TILE", 64)


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
        patch.setattr(batch, "is_remote", REMOTE[remote])
        if given_bracket is not None:
            patch.setattr(magnitude, "_sampled", lambda *arguments: words_between(*given_bracket))
        mask = select_smallest(named, sparsity, hint=hint).mask(named)
    assert mask.equal(brute_force(named, sparsity))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    tensors(),
    st.floats(0, 1),
    st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
    st.booleans(),
)
def test_zeroing_equals_multiplying(level, small_blocks, named, sparsity, dtype, transposed):
    named = {name: tensor.to(dtype) for name, tensor in named.items()}
    if transposed:
        named = {name: t.permute(*range(t.dim())[::-1]) for name, t in named.items()}
    expected = brute_force(named, sparsity)
    for zero in (
        lambda own: select_smallest(own, sparsity).zero_(own),
        lambda own: expected.zero_(own),
    ):
        own = {
            name: tensor.clone(memory_format=torch.preserve_format)
            for name, tensor in named.items()
        }
        zero(own)
        for name, tensor in own.items():
            assert tensor.stride() == named[name].stride()
            assert torch.equal(tensor, named[name].masked_fill(~expected[name], 0))


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
    first.zero_(named)
    second = select_smallest(named, 0.5)
    assert second.threshold == 0.0
    assert second.mask(named).equal(mask)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions(dtype):
    named = {"a": torch.randn(40, 30).to(dtype), "b": torch.randn(500).to(dtype).view(20, 25).T}
    assert magnitude_mask(named, 0.37).equal(brute_force(named, 0.37))


def test_equals_torch_where_nothing_ties():
    generator = torch.Generator().manual_seed(0)
    layers = [torch.nn.Linear(30, 20), torch.nn.Linear(20, 50)]
    for layer in layers:
        layer.weight.data = torch.randn(layer.weight.shape, generator=generator)
    named = {str(i): layer.weight.detach().clone() for i, layer in enumerate(layers)}
    prune.global_unstructured(
        [(layer, "weight") for layer in layers], prune.L1Unstructured, amount=0.43
    )
    mask = magnitude_mask(named, 0.43)
    for i, layer in enumerate(layers):
        assert torch.equal(mask[str(i)], layer.weight_mask.bool())


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(tensors(), st.data(), st.floats(0, 1), st.sampled_from(["global", "tensor"]), st.booleans())
def test_an_event_is_selection_zeros_mask_and_meters(
    level, small_blocks, named, data, sparsity, granularity, same
):
    kinds = st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16])
    named = {name: tensor.to(data.draw(kinds)) for name, tensor in named.items()}
    previous = random_mask(named, 0.4, seed=1)
    initial = previous if same else random_mask(named, 0.7, seed=2)
    expected = magnitude_mask(named, sparsity, granularity)
    own = {name: tensor.clone() for name, tensor in named.items()}
    remote = REMOTE[data.draw(st.sampled_from(sorted(REMOTE)))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "is_remote", remote)
        event = prune_(own, sparsity, granularity, previous, initial)
    assert event.mask.equal(expected)
    assert event.mask.kept == sum(int(keep.sum()) for keep in expected.values())
    for name, tensor in own.items():
        assert torch.equal(tensor, named[name].masked_fill(~expected[name], 0))
    for kept, other in ((event.kept_of_previous, previous), (event.kept_of_initial, initial)):
        assert kept == sum(int((expected[name] & other[name]).sum()) for name in named)
    if granularity == "global":
        assert expected.equal(brute_force(named, sparsity))
    pruned = [named[name][~expected[name]].abs().double() for name in named]
    largest = max((float(part.max()) for part in pruned if part.numel()), default=0.0)
    assert event.threshold == largest


def test_an_event_refused_changes_nothing():
    weights = {"a": torch.ones(100), "b": torch.tensor([1.0, float("nan")])}
    mask = random_mask(weights, 0.5, seed=0)
    with pytest.raises(PruningError, match="b holds NaN"):
        prune_(weights, 0.9, "tensor", mask, mask)
    assert torch.equal(weights["a"], torch.ones(100))


def test_autograd_sees_that_weights_have_changed():
    weight = torch.ones(200, requires_grad=True)
    product = (weight * weight).sum()
    select_smallest({"w": weight}, 0.5).zero_({"w": weight})
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


@pytest.mark.parametrize("few", [1 << 16, 1])
@pytest.mark.parametrize("remote", sorted(REMOTE))
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_names_the_tensor_that_cannot_be_ranked(level, bad, sparsity, remote, few, monkeypatch):
    """Also where an earlier tensor holds more than may be copied."""
    monkeypatch.setattr(batch, "is_remote", REMOTE[remote])
    monkeypatch.setattr(magnitude, "_FEW", few)
    with pytest.raises(PruningError, match="second holds NaN or infinity"):
        magnitude_mask({"first": torch.ones(300), "second": torch.tensor([1.0, bad])}, sparsity)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        *(((s,), "between 0 and 1") for s in (-0.1, 90, float("nan"))),
        ((0.5, "layer"), "granularity"),
    ],
)
def test_refuses_what_makes_no_sense(options, message):
    with pytest.raises(PruningError, match=message):
        magnitude_mask({"w": torch.ones(3)}, *options)
