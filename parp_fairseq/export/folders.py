"""Folders that exports write, and the rule on what may be replaced in them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.files import Kind, PathLike, check_not_input, check_output, sha256, write_json

RECORD_FILE = "parp_export.json"
"""Says what an export wrote, by content. A mark inside of config.json would not do: transformers
keeps it when it saves another model."""


def check_folder(
    folder: PathLike,
    files: Iterable[str],
    form: str,
    *,
    inputs: Iterable[PathLike] = (),
    force: bool = False,
) -> Path:
    """Check, before any work, that an export may be written into a folder.

    Args:
        folder: the folder to write.
        files: names of the files that will be written, the record among them.
        form: the export's format.
        inputs: files and folders that are read.
        force: replace the files of an earlier export of this kind; others there stay. A file
            that was changed since is not replaced.

    Returns:
        `folder` as a Path.

    Raises:
        UserError: it is an input, holds anything but an export of this kind as it was written, is
            there (without `force`) or cannot be written.
    """
    folder, files, inputs = Path(folder), list(files), list(inputs)
    check_not_input(folder, inputs)
    for name in files:
        kind = Kind("a file of an export", Path.is_file)
        check_output(folder / name, kind, inputs=inputs, force=True)
    if folder.is_dir() and any(folder.iterdir()):
        written = _record(folder, form)
        if written is None:
            raise UserError(
                f"--out {folder} is there and is no export of parp of this format (no "
                f"{RECORD_FILE} says so); give another folder, or remove it first"
            )
        if not force:
            raise UserError(f"--out {folder} is there already; give another name or --force")
        for name in files:
            file = folder / name
            if name != RECORD_FILE and file.exists() and written.get(name) != sha256(file):
                raise UserError(
                    f"--out {folder}: {name} is not as the export wrote it; give another folder, "
                    "or move it away"
                )
    return folder


def write_record(stage: Path, form: str) -> None:
    """Write the record of the files that lie in `stage`."""
    files = {file.name: sha256(file) for file in sorted(stage.iterdir())}
    write_json(stage / RECORD_FILE, {"format": form, "files": files})


def _record(folder: Path, form: str) -> dict[str, str] | None:
    """What an export of this format wrote into a folder: name → SHA-256. None where none did."""
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or record.get("format") != form:
        return None
    files = record.get("files")
    return files if isinstance(files, dict) else None
