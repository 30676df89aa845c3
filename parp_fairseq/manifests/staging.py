"""Output folders that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from parp_fairseq.errors import UserError


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder to write into; its content moves to `out` when the block ends well.

    Files of the same name in `out` are replaced, others stay. When the block raises, `out`
    is as it was before. Raises UserError when `out` cannot be written.
    """
    created = _first_missing(out)
    stage: Path | None = None
    try:
        with _told(out):
            out.mkdir(parents=True, exist_ok=True)
            # Inside out, so that the files need only be renamed.
            stage = Path(tempfile.mkdtemp(prefix=".partial-", dir=out))
        yield stage
        with _told(out):
            _move(stage, out)
    except BaseException:
        if created is not None:
            shutil.rmtree(created, ignore_errors=True)
        raise
    finally:
        if stage is not None:
            shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def _told(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{out} cannot be written ({error.strerror or error}); choose another output folder"
        ) from error


def _first_missing(out: Path) -> Path | None:
    missing = None
    for folder in (out, *out.parents):
        if folder.exists():
            break
        missing = folder
    return missing


def _move(source: Path, target: Path) -> None:
    for entry in sorted(source.iterdir()):
        place = target / entry.name
        if entry.is_dir() and place.is_dir():
            _move(entry, place)
        else:
            os.replace(entry, place)
