"""Folders that exports write, and the rule on what may be replaced in them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from parp_fairseq.checkpoints.hf_folder import CONFIG_FILE
from parp_fairseq.errors import UserError
from parp_fairseq.files import Kind, PathLike, check_not_input, check_output

# What tells an export from a folder that another program wrote.
MARK, WRITER = "written_by", "parp-fairseq"


def check_folder(
    folder: PathLike,
    files: Iterable[str],
    model_type: str,
    *,
    inputs: Iterable[PathLike] = (),
    force: bool = False,
) -> Path:
    """Check, before any work, that an export may be written into a folder.

    Args:
        folder: the folder to write.
        files: names of the files that will be written.
        model_type: what the export's config.json says under that name.
        inputs: files and folders that are read.
        force: replace the files of an earlier export of this kind; others there stay.

    Returns:
        `folder` as a Path.

    Raises:
        UserError: it is an input, holds anything but an export of this kind, is there (without
            `force`) or cannot be written.
    """
    folder, inputs = Path(folder), list(inputs)
    check_not_input(folder, inputs)
    for name in files:
        kind = Kind("a file of an export", Path.is_file)
        check_output(folder / name, kind, inputs=inputs, force=True)
    if folder.is_dir() and any(folder.iterdir()):
        if not _is_export(folder, model_type):
            raise UserError(
                f"--out {folder} is there and is no export of parp of this format; give another "
                "folder"
            )
        if not force:
            raise UserError(f"--out {folder} is there already; give another name or --force")
    return folder


def _is_export(folder: Path, model_type: str) -> bool:
    try:
        config = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (
        isinstance(config, dict)
        and config.get(MARK) == WRITER
        and config.get("model_type") == model_type
    )
