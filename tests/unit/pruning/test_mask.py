"""Masks: counts, IOU, files."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from parp_fairseq.errors import UserError
from parp_fairseq.pruning import Mask, iou, random_mask

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


@settings(max_examples=50, deadline=None)
@given(BITS, st.sampled_from(["", "module.", "w2v_encoder.w2v_model."]))
def test_file_keeps_bits_and_info(tmp_path_factory, bits, prefix):
    path = tmp_path_factory.mktemp("mask") / "m.safetensors"
    name = "encoder.layers.0.fc1.weight"
    other = torch.tensor([[True, False, True]])
    mask = Mask({prefix + name: torch.tensor(bits), "x.weight": other})
    mask.save(path, {"method": "mpi"})
    read, info = Mask.load(path)
    assert list(read) == [name, "x.weight"]
    assert torch.equal(read[name], torch.tensor(bits))
    assert torch.equal(read["x.weight"], other)
    assert info["method"] == "mpi"
    assert info["sparsity"] == pytest.approx(mask.sparsity)
    assert [file.name for file in path.parent.iterdir()] == ["m.safetensors"]


def test_a_file_is_packed_eight_entries_a_byte(tmp_path):
    path = tmp_path / "m.safetensors"
    mask_of([True] * 80_000).save(path)
    assert 10_000 <= path.stat().st_size < 11_000


def test_errors_name_the_file(tmp_path):
    missing = tmp_path / "none.safetensors"
    with pytest.raises(UserError, match="no such mask file"):
        Mask.load(missing)
    whole = tmp_path / "m.safetensors"
    mask_of([True] * 1000).save(whole)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"cut\.safetensors: not a readable mask"):
        Mask.load(cut)
    foreign = tmp_path / "weights.safetensors"
    save_file({"w": torch.ones(3)}, str(foreign))
    with pytest.raises(UserError, match=r"weights\.safetensors: .* not a mask"):
        Mask.load(foreign)


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
    with pytest.raises(UserError, match=message):
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
