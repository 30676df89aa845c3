"""Everything about some runs: table, figures, page."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from parp_fairseq.analysis.figures import PICTURES, Picture, check_drawing, draw
from parp_fairseq.analysis.forms import render
from parp_fairseq.analysis.page import render_page
from parp_fairseq.analysis.table import Table, build_table
from parp_fairseq.errors import UserError
from parp_fairseq.files import PARTIAL, PathLike, staged
from parp_fairseq.runs.reading import find_runs

PAGE = "report.html"
_FILES = {"text": "table.txt", "markdown": "table.md", "csv": "table.csv", "json": "report.json"}


@dataclass(frozen=True)
class Report:
    """What was found, and what was written about it."""

    table: Table
    pictures: tuple[Picture, ...] = ()
    page: Path | None = None

    def render(self, form: str = "text") -> str:
        """The table as text, markdown, csv or json; UserError for another format."""
        return render(self.table, form)


def make_report(
    folders: Iterable[PathLike],
    out: PathLike | None = None,
    *,
    title: str = "Runs",
    introduction: str = "",
    notes: Sequence[str] = (),
    before_commands: str = "",
) -> Report:
    """Read every run in and below `folders`; with `out`, write table, figures and page there.

    A run is a folder with `checkpoints/run.json`, which training with task=parp leaves; scores
    are looked for in its `eval/*.json`, as `parp eval --json` writes them. `out` gets
    `report.html` (one file with everything in it), `table.txt`, `table.md`, `table.csv`,
    `report.json` and the figures, all or none. `notes` are lines to stand below the table,
    `before_commands` stands before each command on the page.

    A report that is in `out` already is made anew.

    Raises:
        UserError: no runs, damaged records, no matplotlib (with `out`), or `out` cannot be
            written or holds files of such names and no report.
    """
    if out is not None:
        check_drawing()
        _check_folder(Path(out))
    table = build_table(find_runs(folders))
    table = replace(table, notes=(*table.notes, *notes))
    if out is None:
        return Report(table)
    out = Path(out)
    with staged(out) as stage:
        pictures = draw(table, stage)
        page = render_page(
            table,
            pictures,
            stage,
            title=title,
            introduction=introduction,
            before_commands=before_commands,
        )
        (stage / PAGE).write_text(page, encoding="utf-8")
        for form, name in _FILES.items():
            (stage / name).write_text(render(table, form) + "\n", encoding="utf-8")
    return Report(table, tuple(pictures), out / PAGE)


def _check_folder(out: Path) -> None:
    """See that nothing is replaced but an earlier report."""
    names = (PAGE, *_FILES.values(), *PICTURES)
    there = [name for name in names if os.path.lexists(out / name)]
    cut_off = any(out.glob(f"{PARTIAL}*"))
    if there and not cut_off and not _is_report(out / _FILES["json"]):
        raise UserError(
            f"--out {out} holds {there[0]}, and no report that it could be of; give another folder"
        )


def _is_report(file: Path) -> bool:
    try:
        return {"metric", "rows", "unfinished"} <= set(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return False
