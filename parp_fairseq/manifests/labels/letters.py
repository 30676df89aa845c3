"""Texts into letters, and what all units can do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from parp_fairseq.manifests.labels.units import (
    ENGLISH_CHARACTERS,
    ENGLISH_LETTERS,
    WORD_BOUNDARY,
    dictionary_lines,
    to_letters,
)


class Letters:
    """The letters of the texts as they stand, `|` after each word.

    Attributes:
        source: ending of the file beside the manifest that labels are made from.
        ending: of the label files.
        post_process: what fairseq's criterion calls it.
    """

    source = "wrd"
    ending = "ltr"
    post_process = "letter"

    def objection(self, text: str) -> str:
        """Why a text cannot be labelled; empty where it can."""
        if WORD_BOUNDARY in text:
            return f"the text holds {WORD_BOUNDARY!r}, which marks the ends of words; take it out"
        return ""

    def prepare(self, files: Sequence[Path]) -> None:
        """Learn from the training splits' texts, one a line."""

    def labels(self, texts: Iterable[str]) -> Iterator[str]:
        """A line of symbols with spaces between for each text, to none of which is an objection.

        Raises UserError for a text that has no symbol.
        """
        return map(to_letters, texts)

    def dictionary(self, trained: Counter[str], others: Counter[str]) -> list[str]:
        """`symbol count` lines, given the counts in the training splits and in the others.

        A symbol that training lacks comes last, with count 0, so that references stay whole.
        """
        return dictionary_lines({**dict.fromkeys(others, 0), **trained})

    def save(self, folder: Path) -> None:
        """Write what else belongs beside the manifests."""


class EnglishLetters(Letters):
    """The letters, and the fixed dictionary, of fairseq's published models."""

    def objection(self, text: str) -> str:
        """The first character that the dictionary lacks."""
        for character in text:
            if character not in ENGLISH_CHARACTERS:
                hint = (
                    "the dictionary holds capitals, so write the text in capitals"
                    if character.upper() in ENGLISH_CHARACTERS
                    else "normalise the text or use a dictionary that holds it"
                )
                return f"the character {character!r} is not in the letter dictionary; {hint}"
        return ""

    def dictionary(self, trained: Counter[str], others: Counter[str]) -> list[str]:
        """fairseq's, whatever the counts."""
        return [f"{symbol} {count}" for symbol, count in ENGLISH_LETTERS]
