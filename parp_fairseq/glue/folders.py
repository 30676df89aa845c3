"""A local folder of transformers: checked, named by its content, and made a classifier."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike
from parp_fairseq.glue.tasks import Task

if TYPE_CHECKING:
    from torch import nn

CONFIG = "config.json"
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model")


def check_model_folder(folder: PathLike) -> Path:
    """Check, without loading anything heavy, that a folder holds a model and its tokenizer.

    Raises:
        UserError: it does not exist or lacks the config, the weights or the tokenizer.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such model folder; give a local folder of transformers")
    if not (folder / CONFIG).is_file():
        raise UserError(f"{folder} is no folder of transformers: it has no {CONFIG}")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / CONFIG}: not a readable config; copy it again") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise UserError(f"{folder / CONFIG} names no model_type; it is no model of transformers")
    if not any((folder / name).is_file() for name in _WEIGHTS):
        raise UserError(
            f"{folder} has no {_WEIGHTS[0]}; save the model with save_pretrained of transformers"
        )
    if not any((folder / name).is_file() for name in _VOCABULARIES):
        raise UserError(f"{folder} has no tokenizer (tokenizer.json); copy it into the folder")
    return folder


def digest_of(folder: PathLike) -> str:
    """A hash of the config, the tokenizer and the weights in a folder of transformers."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).iterdir()):
        if path.name in (CONFIG, *_VOCABULARIES) or path.suffix == ".safetensors":
            digest.update(path.name.encode() + b"\0")
            with path.open("rb") as handle:
                while block := handle.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def load_tokenizer(folder: PathLike) -> Any:
    """Return the folder's tokenizer.

    Raises:
        UserError: it is damaged, or cannot pad.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:
        raise UserError(f"{folder}: its tokenizer cannot be read ({first_line(error)})") from error
    if tokenizer.pad_token_id is None:
        raise UserError(f"{folder}: its tokenizer has no padding token; give it one and save it")
    return tokenizer


def load_classifier(folder: PathLike, task: Task, seed: int) -> nn.Module:
    """Return the folder's model with a head for a task.

    Args:
        folder: a folder of transformers.
        task: decides on the head: as many outputs as classes, one for a regression.
        seed: of the head, where the folder has none of that size.

    Raises:
        UserError: the folder holds another kind of model, or it is damaged.
    """
    from transformers import AutoModelForSequenceClassification, set_seed

    set_seed(seed)
    try:
        return AutoModelForSequenceClassification.from_pretrained(
            str(folder),
            num_labels=1 if task.regression else len(task.labels),
            problem_type="regression" if task.regression else "single_label_classification",
            ignore_mismatched_sizes=True,
            local_files_only=True,
            dtype="float32",
        )
    except Exception as error:
        raise UserError(
            f"{folder}: no classifier can be made of it ({first_line(error)})"
        ) from error


def first_line(error: BaseException) -> str:
    """What an error says, in its first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0][:200]
