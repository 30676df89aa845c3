"""The symbols of a CTC head, and how its best path becomes text: as fairseq's infer does it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from parp_fairseq.checkpoints.dictionary import MARKS, NONE, SPECIAL_SYMBOLS

_BLANK = "<ctc_blank>"
_BOS, _PAD, _EOS = (SPECIAL_SYMBOLS.index(symbol) for symbol in ("<s>", "<pad>", "</s>"))


@dataclass(frozen=True)
class Word:
    """A word, or a phone, and when it is said: from `start` up to, without, `end`."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Symbols:
    """The rows of a CTC head.

    Attributes:
        names: a symbol a row.
        blank: the row of CTC's blank.
        silent: rows that are never written.
        joining: how symbols are joined into words; `none` for phones.
        padding: the row that fills up label rows of a batch.
    """

    names: tuple[str, ...]
    blank: int
    silent: frozenset[int]
    joining: str
    padding: int = _PAD

    @classmethod
    def of_dictionary(cls, own: Sequence[str], joining: str) -> Symbols:
        """Those of a fairseq dictionary whose own symbols, after the special ones, are `own`."""
        names = (*SPECIAL_SYMBOLS, *own)
        # Of duplicates, fairseq's dictionary finds the last one.
        blank = len(names) - 1 - names[::-1].index(_BLANK) if _BLANK in names else _BOS
        return cls(names, blank, frozenset((_BOS, _EOS)), joining)

    def best(self, path: np.ndarray) -> np.ndarray:
        """The rows of a path (the likeliest row of every frame): repetitions merged, no blanks."""
        rows = path[np.flatnonzero(np.diff(path, prepend=-1))]
        return rows[rows != self.blank]

    def units(self, rows: np.ndarray) -> str:
        """The symbols of these rows, with spaces between."""
        return " ".join(self.names[row] for row in rows.tolist() if row not in self.silent)

    def joined(self, units: str) -> str:
        """Symbols joined into words; phones stay as they are."""
        if self.joining == NONE:
            return units
        return units.replace(" ", "").replace(MARKS[self.joining], " ").strip()

    def text(self, path: np.ndarray) -> str:
        """What is written for a path: the hypothesis of `parp eval`."""
        return self.joined(self.units(self.best(path)))

    def words(self, path: np.ndarray) -> list[Word]:
        """The words of `text(path)`, or its phones; times are numbers of frames."""
        starts = np.flatnonzero(np.diff(path, prepend=-1))
        ends = np.append(starts[1:], len(path))
        written = [
            (self.names[row], start, end)
            for row, start, end in zip(path[starts].tolist(), starts.tolist(), ends.tolist())
            if row != self.blank and row not in self.silent
        ]
        if self.joining == NONE:
            return [Word(part, start, end) for name, start, end in written for part in name.split()]
        mark = MARKS[self.joining]
        return list(
            _words(
                (" " if character == mark else character, start, end)
                for name, start, end in written
                for character in name.replace(" ", "")
            )
        )


def _words(characters: Iterable[tuple[str, int, int]]) -> Iterator[Word]:
    text, begin, finish = "", 0, 0
    for character, start, end in (*characters, (" ", 0, 0)):
        if character.isspace():
            if text:
                yield Word(text, begin, finish)
            text = ""
        else:
            begin = begin if text else start
            text, finish = text + character, end
