"""Folders that are made whole or not at all, with a note of what they were made from."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import first_missing, remove_empty

STAMP = "corpus.json"


def check_numbers(seed: int, **counts: int) -> None:
    """See that a seed is at least 0 and counts at least 1; raises UserError where one is not."""
    for name, number, least in [("seed", seed, 0), *((*one, 1) for one in counts.items())]:
        if number < least:
            raise UserError(f"{name} must be at least {least} (got {number})")


def make_whole(out: Path, settings: Mapping[str, Any], write: Callable[[Path], None]) -> None:
    """Let `write` fill a new folder, which becomes `out`; nothing where that was done already.

    Args:
        out: the folder.
        settings: what decides its content, as JSON gives it back; noted in `corpus.json` there.
        write: fills the folder that it is given.

    Raises:
        UserError: `out` holds something else.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if _stamp(out) == settings:
            return
        raise UserError(f"{out} holds something else already: give a new folder or remove it")
    made = first_missing(out.parent)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    partial.chmod(0o755)
    try:
        write(partial)
        (partial / STAMP).write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        try:
            os.replace(partial, out)
        except OSError:
            # Another process was first.
            if _stamp(out) != settings:
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        remove_empty(out.parent, made)


def _stamp(out: Path) -> Any:
    try:
        return json.loads((out / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
