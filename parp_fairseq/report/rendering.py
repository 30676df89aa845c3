"""The table as text, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from parp_fairseq.errors import UserError
from parp_fairseq.report.run_table import Table
from parp_fairseq.runs.reading import Run
from parp_fairseq.table import aligned


@dataclass(frozen=True)
class TextTable:
    """Cells as text; the first `left` columns are words, the others numbers."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1

    def markdown(self) -> str:
        """As Markdown, without the title."""
        line = ["---"] * self.left + ["---:"] * (len(self.header) - self.left)
        return "\n".join(map(markdown_row, (self.header, line, *self.rows)))

    def csv(self) -> str:
        """As comma-separated values, with the title as the first column."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["table", *self.header])
        writer.writerows([self.title, *row] for row in self.rows)
        return text.getvalue()


def markdown_row(cells: Sequence[str]) -> str:
    """A row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


FORMATS = ("text", "markdown", "csv", "json")


def check_format(form: str) -> None:
    """Raise UserError unless `form` is one of FORMATS."""
    if form not in FORMATS:
        raise UserError(f"no format {form!r}; choose from {', '.join(FORMATS)}")


def render(table: Table, form: str = "text") -> str:
    """The table in one of FORMATS: aligned text, Markdown, CSV or JSON, notes included.

    CSV has numbers without rounding; columns ending in `_low` and `_high` hold the range.

    Raises:
        UserError: another format.
    """
    check_format(form)
    if form == "json":
        return json.dumps(to_json(table), indent=1)
    if form == "csv":
        return _csv(table)
    if form == "markdown":
        return _markdown(table)
    lines = [aligned(table.header, table.cells()), "", *table.notes] if table.rows else []
    lines += [_unfinished(run) for run in table.unfinished]
    return "\n".join(lines)


def _unfinished(run: Run) -> str:
    of = f" of {run.total_updates:,}" if run.total_updates else ""
    return f"unfinished: {run.folder}: {run.log.updates:,}{of} updates"


def _markdown(table: Table) -> str:
    lines = []
    if table.rows:
        lines = [TextTable("", table.header, table.cells()).markdown(), ""]
        lines += [f"- {note}" for note in table.notes]
    return "\n".join([*lines, *(f"- {_unfinished(run)}" for run in table.unfinished)])


def _csv(table: Table) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    header = ["method", "title", "sparsity", "seeds"]
    for split in table.splits:
        name = f"{table.metric.lower().replace(' ', '_')}_{split}"
        header += [name, f"{name}_low", f"{name}_high"]
    writer.writerow([*header, "fine_tunings", "minutes"])
    for row in table.rows:
        cells: list[Any] = [row.method, row.title, row.sparsity, len(row.runs)]
        for split in table.splits:
            spread = row.rates.get(split)
            cells += ["", "", ""] if spread is None else [spread.mean, spread.low, spread.high]
        writer.writerow([*cells, row.fine_tunings, row.minutes.mean])
    return stream.getvalue().rstrip("\n")


def to_json(table: Table) -> dict[str, Any]:
    """The table as plain types, every run with its own numbers."""
    return {
        "metric": table.metric,
        "valid_splits": list(table.valid_splits),
        "test_splits": list(table.test_splits),
        "rows": [
            {
                "method": row.method,
                "title": row.title,
                "sparsity": row.sparsity,
                "rates": {split: asdict(spread) for split, spread in row.rates.items()},
                "fine_tunings": row.fine_tunings,
                "minutes": asdict(row.minutes),
                "runs": [
                    {
                        "folder": str(run.folder),
                        "seed": run.seed,
                        "minutes": run.log.minutes,
                        "command": run.record.get("command"),
                        "scores": {name: score["rate"] for name, score in run.scores.items()},
                    }
                    for run in row.runs
                ],
            }
            for row in table.rows
        ],
        "unfinished": [
            {"folder": str(r.folder), "updates": r.log.updates, "of": r.total_updates}
            for r in table.unfinished
        ],
        "notes": list(table.notes),
    }
