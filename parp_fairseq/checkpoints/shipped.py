"""The pre-trained model that ships with this package."""

from __future__ import annotations

import os
from pathlib import Path

from parp_fairseq.files import PathLike

TINY = "tiny"
"""What means that model wherever a checkpoint is asked for: `model.w2v_path=tiny`."""

TINY_MODEL = Path(__file__).with_name("tiny.pt")
"""A wav2vec 2.0 of this project's own, small enough to ship (`demo/README.md` tells how)."""


def named_checkpoint(name: PathLike) -> Path:
    """The file that a user's `name` of a checkpoint means: itself, or for "tiny" the tiny model."""
    return TINY_MODEL if os.fspath(name) == TINY else Path(name)
