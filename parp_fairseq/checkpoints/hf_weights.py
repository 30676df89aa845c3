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

    folder = Path(folder)
    path, names = folder / INDEX_FILE, [WEIGHTS_FILE]
    tensors: dict[str, Tensor] = {}
    try:
        if not (folder / WEIGHTS_FILE).is_file() and path.is_file():
            weight_map = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
            names = sorted({Path(name).name for name in weight_map.values()})
        for name in names:
            path = folder / name
            tensors.update(load_file(str(path)))
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file; give a folder that save_pretrained wrote, whole"
        ) from error
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a readable model; copy it again") from error
    return tensors
