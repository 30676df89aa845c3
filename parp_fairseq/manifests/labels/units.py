"""The English letters that fairseq numbers, and dictionaries.

The English letter dictionary is the one that fairseq's published wav2vec 2.0 models use; its
order decides the rows of the CTC head, so it must not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

WORD_BOUNDARY = "|"

_COUNTS = (
    "94802 51860 38431 33152 31495 28855 28794 27187 26071 23546 18289 16308 12400 10685 10317 "
    "9844 9062 8924 8226 6890 6339 3936 3456 1023 636 598 437 213"
)
ENGLISH_LETTERS = tuple(zip("|ETAONIHSRDLUMWCFGYPBVK'XJQZ", map(int, _COUNTS.split())))
"""Symbol and count, in fairseq's order."""

# What English transcripts may hold: the letters and the space between words.
ENGLISH_CHARACTERS: frozenset[str] = frozenset(
    symbol for symbol, _ in ENGLISH_LETTERS if symbol != WORD_BOUNDARY
) | {" "}


def to_letters(text: str) -> str:
    """`"HELLO WORLD"` → `"H E L L O | W O R L D |"`, as fairseq's libri_labels.py writes."""
    return " ".join(text.replace(" ", WORD_BOUNDARY)) + f" {WORD_BOUNDARY}"


def dictionary_lines(counts: Mapping[str, int]) -> list[str]:
    """`symbol count` lines in the order of fairseq's Dictionary: by count, ties by symbol."""
    return [f"{s} {n}" for s, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def dictionary_endings(folder: Path) -> list[str]:
    """Endings of the labels that have a `dict.{ending}.txt` in `folder`, sorted."""
    return sorted(
        path.name[len("dict.") : -len(".txt")] for path in Path(folder).glob("dict.?*.txt")
    )
