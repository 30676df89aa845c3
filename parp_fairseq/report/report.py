"""Everything about some runs: table and figures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike, staged, write_bytes
from parp_fairseq.report.drawing import FIGURES, draw
from parp_fairseq.report.run_table import CSV_START, Table, build_table
from parp_fairseq.report.style import check_drawing
from parp_fairseq.runs.reading import find_runs

TEXT, CSV = "table.txt", "table.csv"


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
    `table.csv` and the figures.

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
        there = [name for name in (TEXT, CSV, *FIGURES) if os.path.lexists(out / name)]
        if there and not _is_report(out / CSV):
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
        (stage / TEXT).write_text(table.render() + "\n", encoding="utf-8")
        # First, so that a report that is cut off while it is moved is known for one.
        write_bytes(out / CSV, table.csv().encode())
        for name in FIGURES:  # of other runs
            (out / name).unlink(missing_ok=True)
    return table


def _is_report(table: Path) -> bool:
    return table.is_file() and table.read_bytes().startswith(",".join(CSV_START).encode())
