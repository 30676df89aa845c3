"""Folders of a Trainer: what `parp.pt` holds, and weights saved under other names."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from parp_fairseq.checkpoints.hf_folder import read_tensors
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, replacing

FILE = "parp.pt"
VERSION = 1


def checksum(weights: Mapping[str, Tensor]) -> int:
    """Return a number, in [0, 2³²), that differs where weights, name → tensor, differ."""
    total = 0
    for name in sorted(weights):
        data = weights[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        total = zlib.crc32(data.numpy().tobytes(), total)
    return total


def write_state(
    folder: PathLike, pruner_state: Mapping[str, Any], subnetwork: Mapping[str, Tensor]
) -> None:
    """Write a `Pruner.state_dict` next to the subnetwork (name → m⊙θ) of a checkpoint folder.

    UserError where the file cannot be written.
    """
    about = {"version": VERSION, "checksum": checksum(subnetwork), "pruner": dict(pruner_state)}
    with replacing(Path(folder, FILE)) as partial:
        torch.save(about, partial)


def state_of(
    folders: Iterable[PathLike], weights: Mapping[str, Tensor], update: int
) -> dict[str, Any]:
    """Return the Pruner's state of the checkpoint from which a model was loaded.

    Callbacks do not get the name of that folder, so the checksum of the prunable weights, as
    loaded, identifies it among `folders`. UserError where none holds their state.
    """
    wanted, looked = checksum(weights), []
    for folder in folders:
        about = _read_state(Path(folder, FILE))
        if about is not None and about["checksum"] == wanted:
            state: dict[str, Any] = about["pruner"]
            return state
        looked.append(f"{folder} {'is of other weights' if about else 'has none'}")
    raise UserError(
        f"training resumes at update {update}, but no {FILE} belongs to its weights "
        f"({'; '.join(looked)}): resume from a checkpoint that was saved whole by a Trainer with "
        "this callback, and name its folder with resume_from=… where it is outside output_dir"
    )


def _read_state(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        about: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        version = about["version"]
        if not isinstance(about["checksum"], int) or not isinstance(about["pruner"], dict):
            raise ValueError("its parts are missing")
    except Exception as error:
        raise UserError(
            f"{path}: not a readable pruning state; resume from an earlier checkpoint"
        ) from error
    if version != VERSION:
        raise UserError(
            f"{path}: version {version}, this program reads version {VERSION}; update parp-fairseq"
        )
    return about


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
