"""Rows of tables that others made: TSV, CSV, JSON lines, and Kaldi's `ID TEXT`."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from parp_fairseq.checkpoints.strict_json import strict_json
from parp_fairseq.errors import UserError
from parp_fairseq.manifests.tsv import stream_lines

FORMATS = (".tsv", ".csv", ".jsonl")

USUAL = {
    "path": ("file_name", "audio_filepath", "audio", "file", "wav", "filename"),
    "text": ("transcription", "sentence", "transcript", "normalized_text"),
}
"""What others call the columns."""

NUMBERS = ("duration",)
"""Columns whose values may be fractions in JSON."""

# As CSV writes a cell that holds a quotation mark.
_QUOTED = re.compile(r'"(?:[^"]|"")*""(?:[^"]|"")*"')

Rows = Iterator[tuple[int, dict[str, str]]]
"""The number of a row's first line, and its cells by column."""


def read_table(
    path: Path,
    columns: Sequence[str],
    *,
    needed: Sequence[str],
    hint: str = "check the path",
    malformed: Callable[[int], None] | None = None,
    refused: re.Pattern[str] | None = None,
) -> Rows:
    """Read a table, row by row; blank lines and a byte order mark are passed over.

    In a `.tsv` a quotation mark is part of the text, and cells that are quoted as in a `.csv` are
    an error, unless `malformed` is given; in a `.csv` cells may be quoted.

    Args:
        path: its ending decides the format.
        columns: what to read; others are passed over.
        needed: those that must be there.
        hint: where such a table belongs, or how it looks, for errors.
        malformed: called with the number of each row of another length; None: that is an error.
        refused: matches the names of columns that say which part of a file a text is of.

    Raises:
        UserError: naming file and row: another format, text that is not UTF-8, a missing column,
            one that is refused or there twice, a row of another length, a quoted cell that looks as
            if it had swallowed rows, a line of JSON that `strict_json` refuses.
    """
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise UserError(f"{path}: expected a file that ends in {', '.join(FORMATS)}")
    lines = table_lines(path, hint, "table")
    if ending == ".jsonl":
        for number, record in _jsonl(path, lines):
            _check_names(path, number, list(record), columns, needed, hint, refused)
            yield number, _cells(path, number, record, columns)
        return
    names: list[str] = []
    for number, cells in _csv(path, lines) if ending == ".csv" else _tsv(lines):
        if not names:
            names = [name.strip() for name in cells]
            _check_names(path, number, names, columns, needed, hint, refused)
        elif len(cells) == len(names):
            for cell in cells if ending == ".tsv" and malformed is None else ():
                if _QUOTED.fullmatch(cell):
                    says = f"{path} row {number} is quoted as in a .csv: {cell[:60]}; name the file"
                    raise UserError(f"{says} .csv with commas, or write it without quoting")
            yield number, {name: cell for name, cell in zip(names, cells) if name in columns}
        elif malformed is not None:
            malformed(number)
        else:
            raise UserError(
                f"{path} row {number} has {len(cells)} columns, expected {len(names)}; a tab, "
                "comma or line end in the text must be taken out (or quoted, in a .csv)"
            )


def _check_names(
    path: Path,
    row: int,
    names: Sequence[str],
    columns: Sequence[str],
    needed: Sequence[str],
    hint: str,
    refused: re.Pattern[str] | None,
) -> None:
    for name in columns:
        if name in needed and name not in names:
            others = [f"rename {o} to {name}" for o in USUAL.get(name, ()) if o in names]
            todo, there = (others or [hint])[0], ", ".join(names)
            raise UserError(f"{path} row {row}: no column {name!r} among {there}; {todo}")
        if names.count(name) > 1:
            raise UserError(f"{path} row {row}: the column {name!r} is there twice")
    for name in names if refused else ():
        if refused.fullmatch(re.sub(r"\W", "", name)):
            raise UserError(
                f"{path} has a column {name!r}: texts of parts of files are not supported; cut "
                "the audio, or rename the column"
            )


def table_lines(path: Path, hint: str, what: str = "file") -> Iterator[str]:
    """Lines as `stream_lines` gives them, without a byte order mark."""
    for number, line in enumerate(stream_lines(path, what, hint=hint, cr=False)):
        yield line if number else line.removeprefix("\ufeff")


def _tsv(lines: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, line.split("\t")


def _csv(path: Path, lines: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader((f"{line}\n" for line in lines), strict=True)
    number = 1
    try:
        for cells in reader:
            for cell in cells:
                # A mark that opens in one row and closes in a later one.
                if re.search(r",[^ \n].*\n|\n.*,", cell):
                    raise UserError(
                        f"{path} row {number}: a quoted cell continues to row {reader.line_num}, "
                        "over lines that look like rows; close its quotation mark"
                    )
            if cells:
                yield number, cells
            number = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path} row {number}: {error}; fix the quotation marks") from error


def _jsonl(path: Path, lines: Iterator[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            # An id may be of 128 bits.
            record: Any = strict_json(line, digits=40)
        except ValueError as error:
            raise UserError(f"{path} row {number} cannot be read as JSON: {error}") from error
        if not isinstance(record, dict):
            raise UserError(f'{path} row {number}: expected {{"path": …, "text": …}}')
        yield number, record


def _cells(path: Path, row: int, record: dict[str, Any], columns: Sequence[str]) -> dict[str, str]:
    for name in columns:
        value = record.get(name, "")
        number = (int, float) if name in NUMBERS else int
        if isinstance(value, bool) or not isinstance(value, (str, number)):
            raise UserError(f"{path} row {row}: {name} is {value!r}, expected text")
    return {name: str(record[name]) for name in columns if name in record}


class Transcript(NamedTuple):
    """A text and the row of its file, for messages."""

    text: str
    row: int


def read_transcripts(path: Path) -> dict[str, Transcript]:
    """Read `ID TEXT` rows. Spaces are squeezed, blank rows and a byte order mark are skipped.

    Raises UserError naming file and row for an id without text or a duplicate.
    """
    transcripts: dict[str, Transcript] = {}
    for row, line in enumerate(stream_lines(path, "transcript"), start=1):
        words = line.removeprefix("\ufeff").split()
        if not words:
            continue
        name, text = words[0], " ".join(words[1:])
        if not text:
            raise UserError(f"{path} row {row}: {name} has no text")
        if transcripts.setdefault(name, Transcript(text, row)).row != row:
            first = transcripts[name].row
            raise UserError(f"{path} row {row}: {name} is a duplicate of row {first}; remove one")
    return transcripts
