"""Tensors of a folder of transformers, in one file or several, and what is not whole."""

import json

import pytest
import torch
from safetensors.torch import save_file

from parp_fairseq.checkpoints.hf_weights import INDEX_FILE, read_tensors
from parp_fairseq.errors import UserError


def test_one_file_and_several(tmp_path):
    with pytest.raises(UserError, match=r"model\.safetensors: no such file; give a folder"):
        read_tensors(tmp_path / "none")
    parts = {"a": {"x": torch.ones(2)}, "b": {"y": torch.zeros(3)}}
    for name, tensors in parts.items():
        save_file(tensors, tmp_path / name)
    index = tmp_path / INDEX_FILE
    index.write_text(json.dumps({"weight_map": {"x": "a", "y": "b"}}))
    found = read_tensors(tmp_path)
    assert torch.equal(found["x"], torch.ones(2)) and torch.equal(found["y"], torch.zeros(3))
    (tmp_path / "b").rename(tmp_path / "model.safetensors")
    assert list(read_tensors(tmp_path)) == ["y"]
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"/b: no such file"):
        read_tensors(tmp_path)
    for text, damaged in (("{", INDEX_FILE), ('{"weight_map": {"x": "a"}}', "/a")):
        index.write_text(text)
        (tmp_path / "a").write_bytes(b"no model")
        with pytest.raises(UserError, match=f"{damaged}: not a readable model"):
            read_tensors(tmp_path)
