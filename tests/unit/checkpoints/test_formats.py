"""Kinds of files, recognised by how they begin, and what the commands take as a checkpoint."""

import pytest
import torch

from parp_fairseq.checkpoints.formats import (
    CHECKPOINT,
    MASK_FILE,
    SPARSE_MODEL,
    TINY_MODEL,
    named_checkpoint,
)
from parp_fairseq.checkpoints.mask_files import save_mask
from parp_fairseq.errors import UserError
from parp_fairseq.pruning import Mask


def test_each_is_of_its_own_kind(tmp_path):
    torch.save({}, tmp_path / "new.pt")
    torch.save({}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    save_mask(Mask({"a": torch.tensor([True, False])}), tmp_path / "mask")
    (tmp_path / "pickle").write_bytes(b"\x80\x02}.")
    (tmp_path / "archive.zip").write_bytes(b"PK\x03\x04" + bytes(60))
    (tmp_path / "safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    (tmp_path / "text").write_text("/data.pkl")
    kinds = {
        path.name: [
            kind.name for kind in (CHECKPOINT, MASK_FILE, SPARSE_MODEL) if kind.matches(path)
        ]
        for path in tmp_path.iterdir()
    }
    assert kinds.pop("new.pt") == kinds.pop("old.pt") == ["a checkpoint"]
    assert kinds.pop("mask") == ["a mask file"]
    assert len(kinds) == 4 and not any(kinds.values())
    assert not CHECKPOINT.matches(tmp_path / "none")


def test_of_a_run_the_best_checkpoint_is_taken_or_else_the_last(tmp_path, capsys):
    checkpoints = tmp_path / "checkpoints"
    checkpoints.mkdir()
    with pytest.raises(UserError, match=r"holds neither \S+_best\.pt nor \S+_last\.pt"):
        named_checkpoint(tmp_path)
    for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
        (checkpoints / name).touch()
        assert named_checkpoint(tmp_path) == checkpoints / name
        assert capsys.readouterr().err == f"parp: {tmp_path}: using {name}\n"
    for itself in (checkpoints, checkpoints / "checkpoint_last.pt", tmp_path / "gone.pt"):
        assert named_checkpoint(itself) == itself
    assert named_checkpoint("tiny") == TINY_MODEL
    assert capsys.readouterr().err == ""
