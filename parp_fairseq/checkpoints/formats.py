"""Files that hold a model, in any form that this program reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from parp_fairseq.checkpoints.hf_folder import CONFIG_FILE, is_hf_folder, read_hf_weights
from parp_fairseq.checkpoints.hf_model import check_hf_folder, read_hf_folder
from parp_fairseq.checkpoints.safe_load import check_readable, load_checkpoint
from parp_fairseq.checkpoints.sparse_file import is_sparse, read_sparse
from parp_fairseq.files import PathLike

if TYPE_CHECKING:
    from torch import Tensor


def check_form(path: PathLike) -> None:
    """Check, without torch, that a file begins as one that `read_state` reads.

    Raises:
        UserError: it is missing, a folder that is none of `transformers`, empty, cut off or of
            another kind.
    """
    if Path(path, CONFIG_FILE).is_file():
        check_hf_folder(path)
    elif not is_sparse(path):
        check_readable(path)


def read_state(path: PathLike) -> dict[str, Any]:
    """Read a model as `load_checkpoint` gives it.

    Args:
        path: a fairseq checkpoint, a sparse file, or a folder of `transformers`.

    Raises:
        UserError: what `load_checkpoint`, `read_sparse` and `read_hf_folder` raise.
    """
    if Path(path, CONFIG_FILE).is_file():
        return read_hf_folder(path)
    return read_sparse(path) if is_sparse(path) else load_checkpoint(path)


def read_weights(path: PathLike) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, a sparse file or a folder of `transformers`.

    Returns:
        name → tensor, under the names that fairseq's model gives them.

    Raises:
        UserError: what `read_state` and `read_hf_weights` raise.
    """
    if is_hf_folder(path):
        return read_hf_weights(path)
    weights: dict[str, Tensor] = read_state(path)["model"]
    return weights
