"""Models that transformers saves under other names than their parameters have (from version 5)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from parp_fairseq.checkpoints.hf_folder import read_tensors
from parp_fairseq.errors import UserError


def check_reloaded(model: Any, names: Iterable[str]) -> None:
    """Refuse what lets the Trainer load its own checkpoint, which it does by the saved names.

    UserError where some of the prunable parameters, `names`, are saved under another name.
    """
    renamed = _renamed(model, names)
    if renamed:
        raise UserError(
            f"transformers saves {renamed[0]} of a {type(model).__name__} under another name, and "
            "its Trainer does not load such a checkpoint: train in one go without "
            "load_best_model_at_end, or load a checkpoint with from_pretrained"
        )


def read_folder(folder: Path, model: Any, names: Iterable[str]) -> dict[str, Tensor]:
    """Read what `save_pretrained` wrote under the names that the parameters of `model` have.

    Of the prunable ones, `names`, those that the folder lacks are left out. UserError where it is
    unreadable.
    """
    tensors = read_tensors(folder)
    if not _renamed(model, names):
        return tensors
    try:
        loaded, info = type(model).from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, local_files_only=True
        )
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"{folder}: not readable by transformers ({reason[:200]})") from error
    missing = info["missing_keys"]
    return {n: weight.detach() for n, weight in loaded.named_parameters() if n not in missing}


def _renamed(model: Any, names: Iterable[str]) -> list[str]:
    try:
        from transformers.core_model_loading import revert_weight_conversion
    except ImportError:
        return []
    shapes = {name: weight.detach().to("meta") for name, weight in model.named_parameters()}
    return sorted(set(names) - set(revert_weight_conversion(model, shapes)))
