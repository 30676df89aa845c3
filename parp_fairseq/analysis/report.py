"""Everything about some runs: table, figures, page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from parp_fairseq.analysis.figures import Picture, check_drawing, draw
from parp_fairseq.analysis.forms import render
from parp_fairseq.analysis.page import render_page
from parp_fairseq.analysis.table import Table, build_table
from parp_fairseq.files import PathLike, staged
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

    Raises:
        UserError: no runs, damaged records, no matplotlib (with `out`), or `out` cannot be
            written.
    """
    if out is not None:
        check_drawing()
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
