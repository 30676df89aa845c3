"""Folders of manifests: what may be written there, and the record of what was."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from parp_fairseq._version import __version__
from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, check_not_input, staged, write_json
from parp_fairseq.manifests.audio.headers import SAMPLE_RATE
from parp_fairseq.manifests.tsv import read_tsv

RECORD_FILE = "manifest.json"

# What a builder most probably writes: looked for before hours of reading audio.
_PROBABLE = re.compile(r"((train|dev|valid|test)[\w-]*\.(tsv|wrd|ltr|phn|spm)|dict\.\w+\.txt)$")


@contextmanager
def manifests_into(
    out: PathLike,
    builder: str,
    *,
    folders: Sequence[str] = ("",),
    inputs: Sequence[PathLike] = (),
    options: Mapping[str, Any] | None = None,
    force: bool = False,
) -> Iterator[Path]:
    """A folder to write manifests into; they move to `out` when the block ends well.

    Next to the manifests in each folder goes `manifest.json`: who built them and how, the files
    with their digests, and how much each split holds. A file that is there and not named in an
    earlier record is never replaced. With `force` the recorded ones are, and those that are not
    built any more are removed.

    `builder` and `options` (without those that are None) are for the record; `folders` are where
    below `out` manifests will be; `inputs` are files and folders that are read.

    Raises UserError where `out` cannot be written, holds manifests (without `force`), or holds
    another file or an input in the place of one to write.
    """
    out = Path(out)
    check_not_input(out, [path for path in inputs if Path(path).is_dir()])
    for folder in folders:
        before = _replaceable(out / folder, force)
        there = sorted((out / folder).iterdir()) if (out / folder).is_dir() else []
        _check_ours([path for path in there if _PROBABLE.match(path.name)], before, inputs)
    with staged(out) as stage:
        yield stage
        stale: list[Path] = []
        for folder in sorted(
            {str(path.parent.relative_to(stage)) for path in stage.rglob("*.tsv")}
        ):
            names = sorted(path.name for path in (stage / folder).iterdir() if path.is_file())
            before = _replaceable(out / folder, force)
            _check_ours([out / folder / name for name in names], before, inputs)
            stale += [out / folder / name for name in before if name not in [*names, RECORD_FILE]]
            record = {
                "builder": builder,
                "version": __version__,
                "options": {name: v for name, v in (options or {}).items() if v is not None},
                "splits": _sizes(stage / folder),
                "files": {n: sha256((stage / folder / n).read_bytes()).hexdigest() for n in names},
            }
            write_json(stage / folder / RECORD_FILE, record)
    for path in stale:
        path.unlink(missing_ok=True)


def _check_ours(places: Sequence[Path], before: Sequence[str], inputs: Sequence[PathLike]) -> None:
    """Raise UserError for a file that is an input, or that no build has recorded."""
    for place in places:
        check_not_input(place, inputs)
        if place.exists() and place.name not in before:
            raise UserError(
                f"{place} already exists and no builder recorded it; choose another folder"
            )


def _replaceable(folder: Path, force: bool) -> list[str]:
    """Names of the files that an earlier build wrote into `folder`, its record included.

    Raises UserError where there are some and `force` is not given.
    """
    file = folder / RECORD_FILE
    if not file.is_file():
        return []
    try:
        names = list(json.loads(file.read_text(encoding="utf-8"))["files"])
        if not all(isinstance(name, str) and os.path.basename(name) == name for name in names):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} is not a record of manifests; move it away, or choose another folder"
        ) from error
    if not force:
        raise UserError(
            f"{folder} already holds manifests; choose another folder, or replace them with --force"
        )
    return [*names, RECORD_FILE]


def _sizes(folder: Path) -> dict[str, dict[str, Any]]:
    splits = {path.stem: read_tsv(path) for path in sorted(folder.glob("*.tsv"))}
    return {
        split: {"utterances": len(m.rows), "hours": round(m.frames / SAMPLE_RATE / 3600, 4)}
        for split, m in splits.items()
    }
