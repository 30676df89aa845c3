"""The fine-tuned checkpoint that is exported: weights, plain settings and dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from parp_fairseq.checkpoints.describe import PretrainedInfo, describe_state
from parp_fairseq.checkpoints.dictionary import (
    SPECIAL_SYMBOLS,
    SYMBOLS_KEY,
    dictionary_from,
    read_dictionary,
)
from parp_fairseq.checkpoints.reading import load_checkpoint
from parp_fairseq.checkpoints.settings import plain_settings
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

_HEAD = "w2v_encoder.proj.weight"


@dataclass(frozen=True)
class Source:
    """What an export starts from.

    `settings` are the checkpoint's own as plain dictionaries (`model`, `task` and others),
    `weights` maps parameters to tensors, which may lie in the mapped file.
    """

    path: Path
    info: PretrainedInfo
    settings: dict[str, Any] = field(repr=False)
    weights: Mapping[str, Tensor] = field(repr=False)
    labels: str
    dictionary: Any = field(repr=False)
    updates: int


def open_source(checkpoint: PathLike) -> Source:
    """Read a fine-tuned CTC checkpoint, or a sparse file, for an export.

    Raises:
        UserError: it is missing, damaged, pre-trained only, or has no dictionary or one that
            does not fit its head.
    """
    from parp_fairseq.checkpoints.sparse_file import is_sparse, read_sparse

    path = Path(checkpoint)
    state = read_sparse(path) if is_sparse(path) else load_checkpoint(path)
    info = describe_state(state, path)
    if not info.finetuned:
        raise UserError(
            f"{path} is a pre-trained {info.kind} without a CTC head; fine-tune it first, or give "
            "the checkpoint_best.pt of a fine-tuning"
        )
    if _HEAD not in info.shapes:
        raise UserError(f"{path} is a {info.arch} without a CTC head, and only CTC is exported")
    if not info.labels:
        raise UserError(
            f"{path} does not say its labels (cfg.task.labels), so its dictionary has no name"
        )
    settings = plain_settings(state)
    w2v_args = settings["model"].get("w2v_args")
    if not isinstance(w2v_args, dict) or not {"model", "task"} <= set(w2v_args):
        raise UserError(
            f"{path} does not hold its architecture (cfg.model.w2v_args); save it once with "
            "fairseq where its pre-trained file is"
        )
    dictionary = _dictionary(path, state, settings, info.labels)
    if len(dictionary) != info.shapes[_HEAD][0]:
        raise UserError(
            f"{path}: its dictionary has {len(dictionary)} symbols ({len(SPECIAL_SYMBOLS)} special "
            f"ones included) but its head has {info.shapes[_HEAD][0]}; use the dictionary that the "
            "model was trained with"
        )
    history = state.get("optimizer_history") or [{}]
    return Source(
        path=path,
        info=info,
        settings=settings,
        weights=state["model"],
        labels=info.labels,
        dictionary=dictionary,
        updates=int(history[-1].get("num_updates") or 0),
    )


def _dictionary(
    path: Path, state: Mapping[str, Any], settings: Mapping[str, Any], labels: str
) -> Any:
    task_state = state.get("task_state") or {}
    if task_state.get("target_dictionary") is not None:
        return task_state["target_dictionary"]
    if SYMBOLS_KEY in task_state:
        return dictionary_from(task_state[SYMBOLS_KEY])
    found = Path(str((settings.get("task") or {}).get("data") or ""), f"dict.{labels}.txt")
    if not found.is_file():
        raise UserError(
            f"{path} holds no dictionary and {found} is not there; put the dictionary that the "
            "model was trained with in that place"
        )
    read_dictionary(found)  # Its errors name file and row.
    from fairseq.data import Dictionary

    return Dictionary.load(str(found))
