"""What a model writes: letters, and the dictionaries that number them.

The English letter dictionary is the one that fairseq's published wav2vec 2.0 models use; its
order decides the rows of the CTC head, so it must not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

WORD_BOUNDARY = "|"

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
