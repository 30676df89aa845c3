"""Everything about some runs: table, figures, page."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.files import PARTIAL, PathLike, sha256, staged, write_json
from parp_fairseq.report.drawing import PICTURES, Picture, check_drawing, draw
from parp_fairseq.report.page import render_page
from parp_fairseq.report.run_table import Table, build_table
from parp_fairseq.runs.reading import find_runs

PAGE = "report.html"
RECORD = "report.json"
_TABLES = {"text": "table.txt", "markdown": "table.md", "csv": "table.csv"}
_FILES = (PAGE, RECORD, *_TABLES.values(), *PICTURES)


@dataclass(frozen=True)
class Report:
    """What was found, and what was written about it."""

    table: Table
    pictures: tuple[Picture, ...] = ()
    page: Path | None = None

    def render(self, form: str = "text") -> str:
        """The table as text, markdown, csv or json; UserError for another format."""
        return self.table.render(form)


def make_report(
    folders: Iterable[PathLike],
    out: PathLike | None = None,
    *,
    title: str = "Runs",
    introduction: str = "",
    notes: Sequence[str] = (),
    before_commands: str = "",
    force: bool = False,
) -> Report:
    """Read every run in and below `folders`; with `out`, write table, figures and page there.

    A run is a folder with `checkpoints/run.json`, which training with task=parp leaves; scores
    are looked for in its `eval/*.json`, as `parp eval --json` writes them. `out` gets
    `report.html` (one file with everything in it), `table.txt`, `table.md`, `table.csv`,
    `report.json` (with digests of the other files) and the figures, all or none. `notes` are
    lines below the table, `before_commands` precedes each command on the page.

    A report that is in `out` already is made again; one that was changed with `force` only.

    Raises:
        UserError: no runs, damaged records, no matplotlib (with `out`), or `out` cannot be
            written, holds files of such names and no report, or a changed one.
    """
    before: list[str] = []
    if out is not None:
        check_drawing()
        before = _replaceable(Path(out), force)
    table = build_table(find_runs(folders))
    table = replace(table, notes=(*table.notes, *notes))
    if out is None:
        return Report(table)
    out = Path(out)
    with staged(out) as stage:
        pictures = draw(table, stage)
        page = render_page(table, pictures, stage, title, introduction, before_commands)
        (stage / PAGE).write_text(page, encoding="utf-8")
        for form, name in _TABLES.items():
            (stage / name).write_text(table.render(form) + "\n", encoding="utf-8")
        digests = {file.name: sha256(file) for file in sorted(stage.iterdir())}
        write_json(stage / RECORD, {**table.to_json(), "files": digests})
    # Figures of other runs.
    for name in {*before} - {*digests, RECORD}:
        (out / name).unlink(missing_ok=True)
    return Report(table, tuple(pictures), out / PAGE)


def _replaceable(out: Path, force: bool) -> list[str]:
    """Names of an earlier report's files in `out`, one that was cut off while it was moved too.

    Raises:
        UserError: there are such files, and no report; or they were changed (without `force`).
    """
    there = [name for name in _FILES if os.path.lexists(out / name)]
    records = [_digests(file) for file in (out / RECORD, *out.glob(f"{PARTIAL}*/{RECORD}"))]
    written = {pair for digests in records if digests for pair in digests.items()}
    changed = [
        name
        for name in there
        if name != RECORD and not ((out / name).is_file() and (name, sha256(out / name)) in written)
    ]
    if records[0] is None and (RECORD in there or (there and changed == there)):
        raise UserError(
            f"--out {out} holds {there[0]}, and no report that it could be of; give another folder"
        )
    if changed and not force:
        raise UserError(
            f"--out {out} holds {changed[0]}, which may have been changed since parp report wrote "
            "it; give another folder, or --force to replace it"
        )
    return there


def _digests(record: Path) -> dict[str, str] | None:
    """What a report says of its files; None where the file is no report's."""
    try:
        content = json.loads(record.read_text("utf-8"))
        if {"metric", "rows", "unfinished"} <= set(content):
            return {name: str(digest) for name, digest in content.get("files", {}).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        pass
    return None
