"""What a model writes: letters, and the dictionaries that number them.

The English letter dictionary is the one that fairseq's published wav2vec 2.0 models use; its
order decides the rows of the CTC head, so it must not change.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from parp_fairseq.errors import UserError

WORD_BOUNDARY = "|"

# What fairseq puts before every dictionary's own symbols.
SPECIAL_SYMBOLS = ("<s>", "<pad>", "</s>", "<unk>")

# Symbol and count, in fairseq's order.
ENGLISH_LETTERS: tuple[tuple[str, int], ...] = (
    (WORD_BOUNDARY, 94802),
    ("E", 51860),
    ("T", 38431),
    ("A", 33152),
    ("O", 31495),
    ("N", 28855),
    ("I", 28794),
    ("H", 27187),
    ("S", 26071),
    ("R", 23546),
    ("D", 18289),
    ("L", 16308),
    ("U", 12400),
    ("M", 10685),
    ("W", 10317),
    ("C", 9844),
    ("F", 9062),
    ("G", 8924),
    ("Y", 8226),
    ("P", 6890),
    ("B", 6339),
    ("V", 3936),
    ("K", 3456),
    ("'", 1023),
    ("X", 636),
    ("J", 598),
    ("Q", 437),
    ("Z", 213),
)

# What English transcripts may hold: the letters and the space between words.
ENGLISH_CHARACTERS: frozenset[str] = frozenset(
    symbol for symbol, _ in ENGLISH_LETTERS if symbol != WORD_BOUNDARY
) | {" "}


def to_letters(text: str) -> str:
    """`"HELLO WORLD"` → `"H E L L O | W O R L D |"`, as fairseq's libri_labels.py writes."""
    return " ".join(text.replace(" ", WORD_BOUNDARY)) + f" {WORD_BOUNDARY}"


def english_dictionary() -> str:
    """The text of `dict.ltr.txt`."""
    return "".join(f"{symbol} {count}\n" for symbol, count in ENGLISH_LETTERS)


def dictionary_lines(counts: Mapping[str, int]) -> list[str]:
    """`symbol count` lines in the order of fairseq's Dictionary: by count, ties by symbol."""
    return [f"{s} {n}" for s, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def dictionary_endings(folder: Path) -> list[str]:
    """Endings of the labels that have a `dict.{ending}.txt` in `folder`, sorted."""
    return sorted(
        path.name[len("dict.") : -len(".txt")] for path in Path(folder).glob("dict.?*.txt")
    )


def read_dictionary(path: str | os.PathLike[str]) -> list[str]:
    """Symbols of a fairseq dictionary (`symbol count` a line), in the file's order.

    Raises UserError naming file and row for a missing file, a malformed row or a symbol that
    stands there twice.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(
            f"{path}: no dictionary there; put the file beside the manifest or check labels"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text; build the dictionary again") from error
    symbols: list[str] = []
    known = set(SPECIAL_SYMBOLS)
    for row, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if not line.strip():
            continue
        overwrite = line.rstrip().endswith(" #fairseq:overwrite")
        fields = line.rstrip().rsplit(" ", 2 if overwrite else 1)
        if len(fields) < 2 or not fields[1].lstrip("-").isdigit():
            raise UserError(f"{path} row {row}: expected '<symbol> <count>', found {line!r}")
        symbol = fields[0]
        if symbol in known and not overwrite:
            raise UserError(f"{path} row {row}: the symbol {symbol!r} stands there twice")
        known.add(symbol)
        symbols.append(symbol)
    if not symbols:
        raise UserError(f"{path} is empty; build the dictionary again")
    return symbols
