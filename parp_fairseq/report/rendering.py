"""Tables of text: aligned for terminals, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from parp_fairseq.table import aligned


def percent(share: float) -> str:
    """0.9 as "90%"."""
    return f"{round(100 * share, 2):g}%"


@dataclass(frozen=True)
class TextTable:
    """Cells as text; the first `left` columns are words, the others numbers."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1

    def text(self) -> str:
        """With aligned columns, without the title."""
        return aligned(self.header, self.rows, self.left)

    def markdown(self) -> str:
        """As Markdown, without the title."""
        line = ["---"] * self.left + ["---:"] * (len(self.header) - self.left)
        rows = (
            (cell.replace("|", "\\|") for cell in row) for row in (self.header, line, *self.rows)
        )
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def csv_lines(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as comma-separated values, the last line ended too."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
