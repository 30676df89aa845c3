"""The tensors in a folder that `save_pretrained` wrote, in one or several files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from parp_fairseq.checkpoints.hf_folder import WEIGHTS_FILE
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

if TYPE_CHECKING:
    from torch import Tensor

INDEX_FILE = "model.safetensors.index.json"


def read_tensors(folder: PathLike) -> dict[str, Tensor]:
    """Read all tensors of a model, name → tensor on the CPU.

    Raises:
        UserError: there is no such folder, it holds no safetensors weights, or they are damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = {}
    for path in weight_files(folder):
        try:
            tensors.update(load_file(str(path)))
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path}: not a readable model; copy it again") from error
    return tensors


def weight_files(folder: PathLike) -> list[Path]:
    """Return the safetensors files of a folder of transformers; UserError where it has none."""
    folder = Path(folder)
    index = folder / INDEX_FILE
    if (folder / WEIGHTS_FILE).is_file():
        return [folder / WEIGHTS_FILE]
    if not index.is_file():
        raise UserError(
            f"{folder} is not a folder with {WEIGHTS_FILE}; give one that save_pretrained wrote"
        )
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        files = [folder / Path(name).name for name in sorted(names)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index}: not a readable index; copy it again") from error
    for path in files:
        if not path.is_file():
            raise UserError(f"{path}: no such file, and {index.name} names it; copy it again")
    return files
