"""Packed masks against bool tensors."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from parp_fairseq.checkpoints.mask_files import (
    both_kept,
    difference,
    iou_of_counts,
    nonzero_mask,
    read_mask,
    save_mask,
    stored_mask,
)
from parp_fairseq.errors import UserError
from parp_fairseq.pruning import Mask, iou, random_mask

SHAPES = {"encoder.layers.0.fc1.weight": (5, 3), "encoder.layers.1.fc1.weight": (4, 4, 2)}


def mask_of(seed, sparsity=0.4, shapes=None):
    """A random mask."""
    tensors = {name: torch.empty(shape) for name, shape in (shapes or SHAPES).items()}
    return random_mask(tensors, sparsity, seed)


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
def test_counts_equal_those_of_bool_tensors(shapes, seeds, sparsities):
    one, other = (mask_of(seed, s, shapes) for seed, s in zip(seeds, sparsities))
    both = both_kept(one, other)
    assert both == {name: int((one[name] & other[name]).sum()) for name in one}
    counts = [(both[name], int(one[name].sum()), int(other[name].sum())) for name in one]
    either = sum(int((one[name] | other[name]).sum()) for name in one)
    assert iou_of_counts(counts) == (sum(both.values()) / either if either else 1.0)
    assert iou_of_counts(counts) == iou(one, other)


def test_files_read_as_they_were_saved(tmp_path):
    mask = mask_of(1)
    wrapped = Mask({f"module.w2v_encoder.w2v_model.{name}": kept for name, kept in mask.items()})
    save_mask(wrapped, tmp_path / "m.safetensors", {"method": "random"})
    found, info = read_mask(tmp_path / "m.safetensors")
    assert info["method"] == "random"
    assert found.equal(mask)
    assert difference(found, mask) is None


def test_what_differs_is_named():
    one = mask_of(1)
    name = next(iter(SHAPES))
    fewer = {key: shape for key, shape in SHAPES.items() if key != name}
    assert difference(one, mask_of(1, shapes=fewer)) == f"has no mask for {name}"
    more = {**SHAPES, "x": (2,)}
    assert difference(one, mask_of(1, shapes=more)) == "also masks x"
    other = mask_of(1, shapes={**SHAPES, name: (3, 5)})
    assert difference(one, other) == f"masks {name} as (3, 5) and not as (5, 3)"
    with pytest.raises(ValueError, match="and not as"):
        both_kept(one, other)


def about(**changes):
    """Metadata of a mask file of one tensor, x, of ten entries."""
    return {"version": 1, "shapes": {"x": [10]}, "info": {}, **changes}


@pytest.mark.parametrize(
    ("metadata", "bits", "message"),
    [
        (None, {}, "but not a mask"),
        (about(version=7), {}, "version 7"),
        ("[]", {}, "not a readable mask file"),
        ("{", {}, "not a readable mask file"),
        ("[" * 100_000, {}, "not a readable mask file"),
        (about(info=3), {}, "not a readable mask file"),
        (about(shapes={"x": [-6]}), {}, "do not hold"),
        (about(shapes={"x": ["a"]}), {}, "not a readable mask file"),
        (about(shapes={"x": [2**70]}), {}, "2 bytes do not hold"),
        (about(shapes={"x": [17]}), {}, "2 bytes do not hold"),
        (about(), {"x": np.array([255, 255], np.uint8)}, "behind the last entry"),
        (about(shapes={"y": [10]}), {}, "names of packed masks and of shapes differ"),
        (about(), {"x": np.zeros(2, np.int8)}, "do not hold"),
        (about(), {"x": np.zeros((1, 2), np.uint8)}, "not a readable mask file"),
        (
            about(shapes={"x": [10], "module.x": [10]}),
            {"x": np.zeros(2, np.uint8), "module.x": np.zeros(2, np.uint8)},
            "masked twice",
        ),
    ],
)
def test_hostile_files_are_refused_in_one_line(tmp_path, metadata, bits, message):
    path = tmp_path / "m.safetensors"
    text = metadata if isinstance(metadata, str) else json.dumps(metadata)
    tensors = bits or {"x": np.array([255, 192], np.uint8)}
    save_file(tensors, path, metadata=None if metadata is None else {"parp-mask": text})
    with pytest.raises(UserError, match=message) as caught:
        read_mask(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 4, 9, 40, -1])
def test_truncated_files_are_refused(tmp_path, size):
    path = tmp_path / "m.safetensors"
    save_mask(mask_of(1), path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match="not a readable mask file"):
        read_mask(path)
    with pytest.raises(UserError, match="no such mask file"):
        read_mask(tmp_path / "none")


def test_masks_inside_of_checkpoints():
    mask, last = mask_of(1), mask_of(2)
    state = {
        "settings": {"task.prune.method": "parp"},
        "shapes": {name: list(kept.shape) for name, kept in mask.items()},
        "masks": {"first": last.packed, "last": last.packed, "view": mask.packed},
    }
    inside = {"last_optimizer_state": {"state": {}, "parp": state}}
    assert stored_mask(inside).equal(mask)
    del state["masks"]["view"]
    assert stored_mask(inside).equal(last)
    for none in ({}, {"last_optimizer_state": None}, {"last_optimizer_state": {"parp": 3}}):
        assert stored_mask(none) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_masks_of_zeros(dtype):
    tensors = {name: torch.rand(shape).add(0.1).to(dtype) for name, shape in SHAPES.items()}
    tensors["encoder.layers.0.fc1.weight"][::2] = 0
    tensors["encoder.layers.1.fc1.weight"][0, 0, 0] = -0.0
    expected = Mask({name: tensor != 0 for name, tensor in tensors.items()})
    assert nonzero_mask(tensors).equal(expected)
