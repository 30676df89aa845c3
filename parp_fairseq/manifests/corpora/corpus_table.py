"""Reading a corpus's table: audio and texts, a row an utterance, as TSV, CSV or JSON lines."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parp_fairseq.checkpoints.strict_json import strict_json
from parp_fairseq.errors import UserError

COLUMNS = ("path", "text", "split", "speaker")
"""What is read; path and text must be there, other columns are passed over."""

FORMATS = (".tsv", ".csv", ".jsonl")

_SPLIT = re.compile(r"[\w-]+")


@dataclass(frozen=True)
class TableRow:
    """A row: where it stands in the file, its audio (absolute) and the rest as text.

    Spaces, tabs and line ends in texts are squeezed. `split` and `speaker` are empty where there
    is no such column.
    """

    number: int
    audio: Path
    text: str
    split: str = ""
    speaker: str = ""


def read_table(path: Path) -> list[TableRow]:
    """Read a table, whose relative paths start from its own folder.

    In a `.tsv` a quotation mark is part of the text; in a `.csv` cells may be quoted. Lines may
    end in CRLF, a byte order mark is passed over, and so are blank lines.

    Raises UserError naming file and row: another format, text that is not UTF-8, a missing
    column, a row of another length, an empty cell, a NUL, an audio file that stands there twice, a
    line of JSON that `strict_json` refuses.
    """
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"{path}: expected a file that ends in {', '.join(FORMATS)}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such table; check the path") from error
    except UnicodeDecodeError as error:
        row = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{path} row {row} is not UTF-8 text; save the table as UTF-8") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    records = {".tsv": _tsv, ".csv": _csv, ".jsonl": _jsonl}[path.suffix.lower()]
    folder = Path(os.path.realpath(path)).parent
    rows: list[TableRow] = []
    seen: dict[Path, int] = {}
    columns: set[str] = set()
    for number, record in records(path, text):
        record = {name: record[name] for name in COLUMNS if name in record}
        cells = {name: " ".join(record[name].split()) for name in COLUMNS[1:] if name in record}
        if not rows:
            columns = {"path", "text", *cells}
        if not columns.issuperset(record):
            extra = sorted(set(record) - columns)[0]
            raise UserError(f"{path} row {number} has a {extra}, the rows before have none")
        for name in sorted(columns):
            if not record.get(name, "").strip():
                raise UserError(f"{path} row {number} has no {name}; fill it or remove the row")
            if "\0" in record[name]:
                raise UserError(f"{path} row {number}: a NUL stands in its {name}; take it out")
        if "split" in cells and not _SPLIT.fullmatch(cells["split"]):
            raise UserError(
                f"{path} row {number}: the split {cells['split']!r} is no name for a file: "
                "letters, digits, - and _ alone"
            )
        audio = Path(os.path.normpath(folder / record["path"]))
        if audio in seen:
            raise UserError(
                f"{path} row {number}: {audio} stands in row {seen[audio]} too; remove one"
            )
        seen[audio] = number
        rows.append(TableRow(number, audio, **cells))
    if not rows:
        raise UserError(f"{path} has no rows; expected the columns path and text, then rows")
    return rows


def _named(path: Path, names: list[str]) -> list[str]:
    names = [name.strip() for name in names]
    for name in ("path", "text"):
        if name not in names:
            raise UserError(
                f"{path} row 1: no column {name!r} among {', '.join(names) or 'none'}; "
                "the first row names the columns"
            )
    twice = [name for name in COLUMNS if names.count(name) > 1]
    if twice:
        raise UserError(f"{path} row 1: the column {twice[0]!r} stands there twice")
    return names


def _record(path: Path, number: int, names: list[str], cells: list[str]) -> dict[str, str]:
    if len(cells) != len(names):
        raise UserError(
            f"{path} row {number} has {len(cells)} columns, expected {len(names)}; a tab, comma or "
            "line end in the text must be taken out (or quoted, in a .csv)"
        )
    return dict(zip(names, cells))


def _tsv(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    names: list[str] = []
    # Not splitlines(): it also breaks at characters that may stand in a text.
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.rstrip("\r")
        if not line.strip():
            continue
        if not names:
            names = _named(path, line.split("\t"))
        else:
            yield number, _record(path, number, names, line.split("\t"))


def _csv(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    names: list[str] = []
    number = 1
    try:
        for cells in reader:
            if cells and not names:
                names = _named(path, cells)
            elif cells:
                yield number, _record(path, number, names, cells)
            number = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path} row {number}: {error}; mend the quotation marks") from error


def _jsonl(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            # An id may be of 128 bits.
            record: Any = strict_json(line, digits=40)
        except ValueError as error:
            raise UserError(
                f"{path} row {number} cannot be read as JSON ({error}); mend the row"
            ) from error
        if not isinstance(record, dict):
            raise UserError(f'{path} row {number}: expected {{"path": …, "text": …}}')
        for name in COLUMNS:
            value = record.get(name, "")
            if isinstance(value, bool) or not isinstance(value, (str, int)):
                raise UserError(f"{path} row {number}: {name} is {value!r}, expected text")
        yield number, {name: str(record[name]) for name in COLUMNS if name in record}
