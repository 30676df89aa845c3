"""Everything about some runs: table and figures."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, staged, write_json
from parp_fairseq.report.drawing import FIGURES, draw
from parp_fairseq.report.run_table import Table, build_table
from parp_fairseq.report.style import check_drawing
from parp_fairseq.runs.reading import find_runs

RECORD = "report.json"
_TABLES = {"text": "table.txt", "markdown": "table.md", "csv": "table.csv"}


def make_report(
    folders: Iterable[PathLike],
    out: PathLike | None = None,
    *,
    notes: Sequence[str] = (),
    force: bool = False,
) -> Table:
    """Read every run in and below `folders`; with `out`, write table and figures there.

    A run is a folder with `checkpoints/run.json`, which training with task=parp leaves; scores
    are looked for in its `eval/*.json`, as `parp eval --json` writes them. `out` gets `table.txt`,
    `table.md`, `table.csv`, `report.json` and the figures.

    Args:
        folders: where runs are.
        out: a folder.
        notes: lines below the table.
        force: replace the report in `out`; nothing else is ever replaced.

    Raises:
        UserError: no runs, damaged records, no matplotlib (with `out`), or `out` cannot be
            written, or holds files of such names and no report, or one without `force`.
    """
    if out is not None:
        check_drawing()
        out = Path(out)
        there = [
            name for name in (*_TABLES.values(), *FIGURES, RECORD) if os.path.lexists(out / name)
        ]
        if there and not _is_report(out / RECORD):
            raise UserError(
                f"--out {out} holds {there[0]}, and no report that it could be of; give another "
                "folder"
            )
        if there and not force:
            raise UserError(f"--out {out} holds a report; give another folder, or --force")
    table = build_table(find_runs(folders))
    table = replace(table, notes=(*table.notes, *notes))
    if out is None:
        return table
    with staged(out) as stage:
        draw(table, stage)
        for form, name in _TABLES.items():
            (stage / name).write_text(table.render(form) + "\n", encoding="utf-8")
        # First, so that a report that is cut off while it is moved is known for one.
        write_json(out / RECORD, table.to_json())
        for name in FIGURES:  # of other runs
            (out / name).unlink(missing_ok=True)
    return table


def _is_report(record: Path) -> bool:
    try:
        return {"metric", "rows", "unfinished"} <= set(json.loads(record.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return False
