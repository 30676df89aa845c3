"""What the commands take as a checkpoint: a file, "tiny", or a run's folder."""

import pytest

from parp_fairseq.checkpoints.formats import TINY_MODEL, named_checkpoint
from parp_fairseq.errors import UserError


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
