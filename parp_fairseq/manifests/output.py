"""Folders of manifests: what may be written there, and the record of what was."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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

    Beside the manifests in each folder goes `manifest.json`: who built them and how, the files
    with their digests, and how much each split holds. A file that is there and not named in an
    earlier record is never replaced. With `force` the recorded ones are, and those that are not
    built any more are removed.

    Args:
        out: the output folder.
        builder: the command, for the record: "parp manifest table".
        folders: where below `out` manifests will lie.
        inputs: files and folders that are read.
        options: what the builder was asked for, for the record; those that are None are left out.
        force: replace manifests of an earlier build.

    Raises:
        UserError: `out` cannot be written, holds manifests (without `force`), or holds a file of
            another kind or an input in the place of one to write.
    """
    out = Path(out)
    check_not_input(out, [path for path in inputs if Path(path).is_dir()])
    for folder in folders:
        _check_free(out / folder, inputs, force)
    with staged(out) as stage:
        yield stage
        stale: list[Path] = []
        for folder in _written_folders(stage):
            names = sorted(path.name for path in (stage / folder).iterdir() if path.is_file())
            before = _replaceable(out / folder, force)
            for name in names:
                place = out / folder / name
                check_not_input(place, inputs)
                if place.exists() and name not in before:
                    raise UserError(_not_ours(place))
            stale += [out / folder / name for name in before if name not in [*names, RECORD_FILE]]
            write_json(
                stage / folder / RECORD_FILE, _record(stage / folder, names, builder, options)
            )
    for path in stale:
        path.unlink(missing_ok=True)


def _check_free(folder: Path, inputs: Sequence[PathLike], force: bool) -> None:
    before = _replaceable(folder, force)
    if not folder.is_dir():
        return
    given = {os.path.realpath(path) for path in inputs}
    for path in sorted(folder.iterdir()):
        if _PROBABLE.match(path.name) and path.name not in before:
            if os.path.realpath(path) in given:
                raise UserError(f"--out {folder}: {path.name} there is also an input; give another")
            raise UserError(_not_ours(path))


def _not_ours(path: Path) -> str:
    return (
        f"{path} is there and no builder of this program recorded it; move it away or give "
        "another folder"
    )


def _written_folders(stage: Path) -> list[str]:
    """Folders below `stage` that hold manifests, as relative paths; "" is `stage` itself."""
    return sorted({str(path.parent.relative_to(stage)) for path in stage.rglob("*.tsv")})


def _recorded(folder: Path) -> list[str]:
    """Names of the files that an earlier build wrote into `folder`, its record included."""
    file = folder / RECORD_FILE
    if not file.is_file():
        return []
    try:
        names = list(json.loads(file.read_text(encoding="utf-8"))["files"])
        if not all(isinstance(name, str) and os.path.basename(name) == name for name in names):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} is not a record of manifests (damaged, or of another program); move it away "
            "or give another folder"
        ) from error
    return [*names, RECORD_FILE]


def _replaceable(folder: Path, force: bool) -> list[str]:
    """As `_recorded`. Raises UserError where there are some and `force` is not given."""
    before = _recorded(folder)
    if before and not force:
        raise UserError(
            f"{folder} holds manifests already ({RECORD_FILE} tells of them); give another "
            "folder, or --force to replace them"
        )
    return before


def _record(
    folder: Path, names: Sequence[str], builder: str, options: Mapping[str, Any] | None
) -> dict[str, Any]:
    splits = {}
    for name in names:
        if name.endswith(".tsv"):
            manifest = read_tsv(folder / name)
            hours = round(manifest.frames / SAMPLE_RATE / 3600, 4)
            splits[name[: -len(".tsv")]] = {"utterances": len(manifest.rows), "hours": hours}
    return {
        "builder": builder,
        "version": __version__,
        "options": {name: value for name, value in (options or {}).items() if value is not None},
        "splits": splits,
        "files": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names},
    }
