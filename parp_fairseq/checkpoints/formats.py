"""Models in every format that this program reads, and how a model's file is written.

A file's format is recognised by its first bytes, so one that was cut off still is.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parp_fairseq.checkpoints.safe_load import check_readable, load_checkpoint
from parp_fairseq.errors import UserError
from parp_fairseq.files import Kind, PathLike, staged

if TYPE_CHECKING:
    from torch import Tensor

TINY = "tiny"
"""The name of the shipped model wherever a checkpoint is asked for: `model.w2v_path=tiny`."""

TINY_MODEL = Path(__file__).with_name("tiny.pt")
"""A wav2vec 2.0 of this project's own, small enough to ship (`demo/README.md` describes it)."""


CHECKPOINTS = "checkpoints"
"""The folder of checkpoints in a run's folder: fairseq's save_dir, as every yaml has it."""

BEST, LAST = "checkpoint_best.pt", "checkpoint_last.pt"

SPARSE_FORMAT, MASK_FORMAT = "parp-sparse", "parp-mask"
"""The keys of the metadata of a sparse model and of a mask file."""

# A zip archive of torch's begins with "NAME/data.pkl".
_ZIP, _FIRST_ENTRY = b"PK\x03\x04", b"/data.pkl"
# torch 1.5 and older: a pickle that begins with torch's magic number.
_OLD = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def _is_checkpoint(path: Path) -> bool:
    with path.open("rb") as handle:
        start = handle.read(512)
    return start.startswith(_OLD) or (start.startswith(_ZIP) and _FIRST_ENTRY in start)


def _safetensors(name: str, key: str) -> Kind:
    """The kind of a safetensors file whose first metadata is `key`."""
    # The length of the header in eight bytes, then its JSON, which begins with the metadata.
    start = b'{"__metadata__":{"' + key.encode() + b'":'

    def is_one(path: Path) -> bool:
        with path.open("rb") as handle:
            handle.seek(8)
            return handle.read(len(start)) == start

    return Kind(name, is_one)


CHECKPOINT = Kind("a checkpoint", _is_checkpoint)
SPARSE_MODEL = _safetensors("a sparse model", SPARSE_FORMAT)
MASK_FILE = _safetensors("a mask file", MASK_FORMAT)


def named_checkpoint(name: PathLike) -> Path:
    """The model that a user's `name` means: "tiny", a run's folder, or the file or folder itself.

    Of a run, the best checkpoint is taken, or else the last; a line on standard error says which.
    Raises UserError: the run has no checkpoint yet.
    """
    if os.fspath(name) == TINY:
        return TINY_MODEL
    checkpoints = Path(name, CHECKPOINTS)
    if not checkpoints.is_dir():
        return Path(name)
    for file in (checkpoints / BEST, checkpoints / LAST):
        if file.is_file():
            print(f"parp: {name}: using {file.name}", file=sys.stderr)
            return file
    raise UserError(f"{checkpoints} holds neither {BEST} nor {LAST}; train the run first")


def is_sparse(path: PathLike) -> bool:
    """Whether a file begins as a safetensors file does; `read_sparse` checks that it is ours."""
    try:
        with open(path, "rb") as handle:
            start = handle.read(9)
    except OSError:
        return False
    # The length of the header, then its JSON.
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") < 2**32


def check_format(path: PathLike) -> None:
    """Check, without torch, that a file begins as one that `read_state` reads.

    Raises UserError: it is missing, a folder that is none of `transformers`, empty, cut off or of
    another kind.
    """
    path = Path(path)
    if path.is_dir():
        from parp_fairseq.checkpoints.hf_folder import check_hf_folder

        check_hf_folder(path)
    elif not is_sparse(path):
        check_readable(path)
    elif MASK_FILE.matches(path):
        raise UserError(f"{path} is a mask file, which holds no weights; give the model")


def read_state(path: PathLike, sparsity: float | None = None) -> dict[str, Any]:
    """Read a model as `load_checkpoint` gives it; of a sparse file the level for `sparsity`.

    `path` is a fairseq checkpoint, a sparse file, or a folder of `transformers`. Raises what
    `check_format`, `load_checkpoint`, `read_sparse` and `read_hf_folder` raise.
    """
    check_format(path)
    if Path(path).is_dir():
        from parp_fairseq.checkpoints.hf_folder import read_hf_folder

        return read_hf_folder(path)
    if not is_sparse(path):
        return load_checkpoint(path)
    from parp_fairseq.checkpoints.sparse_file import read_sparse

    return read_sparse(path, sparsity)


def read_weights(path: PathLike) -> dict[str, Tensor]:
    """Read the tensors of a model, under the names that fairseq gives them.

    A folder of `transformers` needs only config and weights. Raises what `read_state` and
    `read_hf_weights` raise.
    """
    if Path(path).is_dir():
        from parp_fairseq.checkpoints.hf_folder import read_hf_weights

        return read_hf_weights(path)
    weights: dict[str, Tensor] = read_state(path)["model"]
    return weights


@contextmanager
def output(path: PathLike) -> Iterator[Path]:
    """A folder to write the file `path` and its neighbours into; they appear when all is written.

    Raises UserError: `path` is a folder, or nothing can be written there (rights, a full disk).
    """
    from safetensors import SafetensorError

    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the name of the file to write")
    with staged(path.parent) as stage:
        try:
            yield stage
        except (OSError, RuntimeError, SafetensorError) as error:
            # torch and safetensors hide why a write failed.
            reason = getattr(error, "strerror", None) or "it could not be finished"
            free = shutil.disk_usage(stage).free // 2**20
            raise UserError(
                f"{path} cannot be written ({reason}; {free:,} MiB are free there); free some "
                "space or choose another path"
            ) from error
