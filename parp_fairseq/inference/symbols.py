"""What a CTC head's rows stand for, and how its best path becomes text: as fairseq's infer does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from parp_fairseq.checkpoints.dictionary import SPECIAL_SYMBOLS

LETTER, PIECE, NONE = "letter", "sentencepiece", "none"
"""fairseq's names for joining symbols into words."""

_MARKS = {LETTER: "|", PIECE: "\u2581"}
_BLANK = "<ctc_blank>"
_BOS, _EOS = SPECIAL_SYMBOLS.index("<s>"), SPECIAL_SYMBOLS.index("</s>")


def joining(symbols: Sequence[str]) -> str:
    """How symbols are joined into words, told by the dictionary; `none` for phones."""
    if _MARKS[LETTER] in symbols:
        return LETTER
    if any(symbol.startswith(_MARKS[PIECE]) for symbol in symbols):
        return PIECE
    return NONE


@dataclass(frozen=True)
class Word:
    """A word, or a phone, and the frames of its symbols: from `start` up to, without, `end`."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Symbols:
    """The rows of a CTC head.

    Attributes:
        names: a symbol a row.
        blank: the row of CTC's blank.
        silent: rows that are never written.
        joining: how symbols are joined into words.
    """

    names: tuple[str, ...]
    blank: int
    silent: frozenset[int]
    joining: str

    @classmethod
    def of_dictionary(cls, own: Sequence[str]) -> Symbols:
        """Those of a fairseq dictionary whose own symbols, behind the special ones, are `own`."""
        names = (*SPECIAL_SYMBOLS, *own)
        # Where a symbol stands there twice, fairseq's dictionary finds the last one.
        blank = len(names) - 1 - names[::-1].index(_BLANK) if _BLANK in names else _BOS
        return cls(names, blank, frozenset((_BOS, _EOS)), joining(own))

    def text(self, path: np.ndarray) -> str:
        """What is written for the likeliest symbol of every frame: the hypothesis of `parp eval`.

        Args:
            path: rows of the head, a frame each.
        """
        written = " ".join(name for name, _, _ in self._written(path))
        if self.joining == NONE:
            return written
        return written.replace(" ", "").replace(_MARKS[self.joining], " ").strip()

    def words(self, path: np.ndarray) -> list[Word]:
        """The words of `text(path)`, or its phones, with their frames."""
        written = self._written(path)
        if self.joining == NONE:
            return [Word(part, start, end) for name, start, end in written for part in name.split()]
        return list(_words(_characters(written, _MARKS[self.joining])))

    def _written(self, path: np.ndarray) -> list[tuple[str, int, int]]:
        """Symbols that are written, with their frames: repetitions merged, blanks dropped."""
        starts = np.flatnonzero(np.diff(path, prepend=-1))
        ends = np.append(starts[1:], len(path))
        return [
            (self.names[row], start, end)
            for row, start, end in zip(path[starts].tolist(), starts.tolist(), ends.tolist())
            if row != self.blank and row not in self.silent
        ]


def _characters(
    written: Iterable[tuple[str, int, int]], mark: str
) -> Iterator[tuple[str, int, int]]:
    for name, start, end in written:
        for character in name.replace(" ", ""):
            yield (" " if character == mark else character), start, end


def _words(characters: Iterable[tuple[str, int, int]]) -> Iterator[Word]:
    text, begin, finish = "", 0, 0
    for character, start, end in characters:
        if character.isspace():
            if text:
                yield Word(text, begin, finish)
            text = ""
        else:
            begin = begin if text else start
            text, finish = text + character, end
    if text:
        yield Word(text, begin, finish)
