"""Aligned tables for terminals."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(
    header: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1, most: int = 100
) -> str:
    """Return lines with columns of even width, two spaces apart.

    Where they would be wider than `most`, a first column that is the widest (paths) gets lines of
    its own.

    Args:
        header: one title a column.
        rows: cells, as many a row as there are titles.
        left: how many of the first columns are set flush left; the others, numbers, flush right.
    """
    lines = [header, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    if sum(widths) + 2 * (len(widths) - 1) > most and widths[0] == max(widths) and left > 1:
        rest = aligned(header[1:], [row[1:] for row in rows], left - 1, most).splitlines()
        shown = [f"  {rest[0]}"]
        for number, (row, line) in enumerate(zip(rows, rest[1:])):
            shown += [row[0]] if number == 0 or rows[number - 1][0] != row[0] else []
            shown.append(f"  {line}")
        return "\n".join(shown)
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in lines
    )
