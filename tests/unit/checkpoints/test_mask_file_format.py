"""Mask files: what they hold, and what is no mask file."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from parp_fairseq.checkpoints.mask_files import load_mask, save_mask
from parp_fairseq.errors import UserError
from parp_fairseq.pruning import Mask

BITS = st.lists(st.booleans(), min_size=1, max_size=40)


def mask_of(bits):
    return Mask({"w": torch.tensor(bits)})


@settings(max_examples=50, deadline=None)
@given(BITS, st.sampled_from(["", "module.", "w2v_encoder.w2v_model."]))
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
    assert info["method"] == "mpi"
    assert info["sparsity"] == pytest.approx(mask.sparsity)
    assert [file.name for file in path.parent.iterdir()] == ["m.safetensors"]


def test_a_file_is_packed_eight_entries_a_byte(tmp_path):
    path = tmp_path / "m.safetensors"
    save_mask(mask_of([True] * 80_000), path)
    assert 10_000 <= path.stat().st_size < 11_000


def test_errors_name_the_file(tmp_path):
    missing = tmp_path / "none.safetensors"
    with pytest.raises(UserError, match="no such mask file"):
        load_mask(missing)
    whole = tmp_path / "m.safetensors"
    save_mask(mask_of([True] * 1000), whole)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"cut\.safetensors: not a readable mask"):
        load_mask(cut)
    foreign = tmp_path / "weights.safetensors"
    save_file({"w": torch.ones(3)}, str(foreign))
    with pytest.raises(UserError, match=r"weights\.safetensors: .* not a mask"):
        load_mask(foreign)
