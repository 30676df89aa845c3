"""Checkpoints and what lies beside them, written whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, staged


@contextmanager
def output(path: PathLike) -> Iterator[Path]:
    """A folder to write the file `path` and its neighbours into; they appear when all is written.

    Raises:
        UserError: `path` is a folder, or nothing can be written there (rights, a full disk).
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
                f"{path} cannot be written ({reason}; {free:,} MiB are free there); make room or "
                "choose another place"
            ) from error
