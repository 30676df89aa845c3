"""What a split is for, by its name, as fairseq's users name them."""

from __future__ import annotations

import re

TRAIN, VALID = "train", "valid"

_KINDS = {**dict.fromkeys(("valid", "validation", "val", "dev"), "valid"), "test": "test"}


def kind_of(split: str) -> str:
    """`train`, `valid`, `test`, or the name itself where it does not tell.

    What begins with `train` is for training. Of others, what stands before the first mark counts:
    `dev-other` and `valid_nl` are for validation, `validated` tells nothing.
    """
    word = re.split(r"[^A-Za-z]", split, maxsplit=1)[0].lower()
    return "train" if word.startswith("train") else _KINDS.get(word, split)


def is_training(split: str) -> bool:
    """Whether a model trains on the split."""
    return kind_of(split) == "train"
