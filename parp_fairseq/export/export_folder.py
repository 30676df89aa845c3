"""Folders that exports write, and the rule on what may be replaced in them."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from parp_fairseq.checkpoints.formats import output
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
    """Check, before any work, that an export may be written into a folder; return it as a Path.

    `files` are what will be written, without the record. `force` replaces those of an earlier
    export of this format (`form`), unless one was changed since; other files stay. UserError where
    the folder is an input, holds anything but such an export, already exists (without `force`) or
    cannot be written.
    """
    folder, files, inputs = Path(folder), list(files), list(inputs)
    check_not_input(folder, inputs)
    for name in (*files, RECORD_FILE):
        kind = Kind("a file of an export", Path.is_file)
        check_output(folder / name, kind, inputs=inputs, force=True)
    if folder.is_dir() and any(folder.iterdir()):
        written = _record(folder, form)
        if written is None:
            raise UserError(
                f"--out {folder} already exists and is no export of parp of this format (no "
                f"{RECORD_FILE} says so); choose another folder, or remove it first"
            )
        if not force:
            raise UserError(f"--out {folder} already exists; choose another name or use --force")
        for name in files:
            file = folder / name
            if file.exists() and written.get(name) != sha256(file):
                raise UserError(
                    f"--out {folder}: {name} is not as the export wrote it; choose another folder, "
                    "or move it away"
                )
    return folder


@contextlib.contextmanager
def writing_folder(
    out: Path, model_file: str, texts: Mapping[str, Any], form: str
) -> Iterator[Path]:
    """A folder to write `model_file` into; it becomes `out` with the texts and a record.

    What of `texts`, by name, is no text is written as JSON. UserError where it cannot be written.
    """
    with output(out / model_file) as stage:
        yield stage
        for name, content in texts.items():
            if not isinstance(content, str):
                content = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
            (stage / name).write_text(content, encoding="utf-8")
            # Some libraries let nobody else read what they write.
            shutil.copymode(stage / name, stage / model_file)
        files = {file.name: sha256(file) for file in sorted(stage.iterdir())}
        write_json(stage / RECORD_FILE, {"format": form, "files": files})


def summary(out: Path, form: str, files: Iterable[str]) -> dict[str, Any]:
    """What an export returns: {"format", "out", "files", "bytes"}."""
    names = [*files, RECORD_FILE]
    size = sum((out / name).stat().st_size for name in names)
    return {"format": form, "out": str(out), "files": names, "bytes": size}


def _record(folder: Path, form: str) -> dict[str, str] | None:
    """What an export of this format wrote into a folder: name → SHA-256. None where none did."""
    try:
        record = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
        files = record["files"] if record["format"] == form else None
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        return None
    return files if isinstance(files, dict) else None
