"""Mask files, and masks in checkpoints: what they hold, and what is none."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from parp_fairseq.checkpoints.mask_files import load_mask, nonzero_mask, save_mask, stored_mask
from parp_fairseq.errors import UserError
from parp_fairseq.pruning import Mask, random_mask

SHAPES = {"encoder.layers.0.fc1.weight": (5, 3), "encoder.layers.1.fc1.weight": (4, 4, 2)}


def mask_of(seed):
    return random_mask({name: torch.empty(shape) for name, shape in SHAPES.items()}, 0.4, seed)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.booleans(), min_size=1, max_size=40),
    st.sampled_from(["", "module.", "w2v_encoder.w2v_model."]),
)
def test_file_keeps_bits_and_info(tmp_path_factory, bits, prefix):
    path = tmp_path_factory.mktemp("mask") / "m.safetensors"
    name = "encoder.layers.0.fc1.weight"
    other = torch.tensor([[True, False, True]])
    mask = Mask({prefix + name: torch.tensor(bits), "x.weight": other})
    save_mask(mask, path, {"method": "mpi"})
    read, info = load_mask(path)
    assert list(read) == [name, "x.weight"]
    assert torch.equal(read[name], torch.tensor(bits))
    assert torch.equal(read["x.weight"], other)
    assert info == {"method": "mpi", "sparsity": pytest.approx(mask.sparsity)}
    assert [file.name for file in path.parent.iterdir()] == ["m.safetensors"]


def about(**changes):
    """Metadata of a mask file of one tensor, x, of ten entries."""
    return {"version": 1, "shapes": {"x": [10]}, "info": {}, **changes}


UNREADABLE = "not a readable mask file"


@pytest.mark.parametrize(
    ("metadata", "bits", "message"),
    [
        (None, {}, "but not a mask"),
        (about(version=7), {}, "version 7"),
        ("[]", {}, UNREADABLE),
        ("[" * 100_000, {}, UNREADABLE),
        (about(shapes={"x": [-6]}), {}, "do not hold"),
        (about(shapes={"x": [2**70]}), {}, "2 bytes do not hold"),
        (about(), {"x": np.array([255, 255], np.uint8)}, "after the last entry"),
        (about(shapes={"y": [10]}), {}, "names of packed masks and of shapes differ"),
        (about(), {"x": np.zeros(2, np.int8)}, "do not hold"),
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
        load_mask(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [0, 4, 9, 40, -1])
def test_truncated_files_are_refused(tmp_path, size):
    path = tmp_path / "m.safetensors"
    save_mask(mask_of(1), path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match=UNREADABLE):
        load_mask(path)
    with pytest.raises(UserError, match="no such mask file"):
        load_mask(tmp_path / "none")


def test_masks_inside_of_checkpoints():
    mask, last = mask_of(1), mask_of(2)
    state = {
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
    tensors = {"module.w": torch.tensor([0.0, -0.0, 1e-7, -2.0]).to(dtype)}
    expected = Mask({"w": torch.tensor([False, False, True, True])})
    assert nonzero_mask(tensors).equal(expected)
