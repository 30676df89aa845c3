"""The symbols of a CTC head: their dictionaries, and how a best path becomes text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

SYMBOLS_KEY = "parp_symbols"
"""Where the task `parp` keeps its dictionary in `task_state`, as plain lists."""

DIGEST_KEY = "dictionary_sha256"
"""Where `parp export` keeps `symbols_digest` in `extra_state`, which fairseq passes over."""

# What fairseq puts before every dictionary's own symbols.
SPECIAL_SYMBOLS = ("<s>", "<pad>", "</s>", "<unk>")
_BLANK = "<ctc_blank>"
_BOS, _PAD, _EOS = (SPECIAL_SYMBOLS.index(symbol) for symbol in ("<s>", "<pad>", "</s>"))

LETTER, PIECE, NONE = "letter", "sentencepiece", "none"
"""fairseq's names for joining symbols into words."""

MARKS = {LETTER: "|", PIECE: "\u2581"}
_OF_LABELS = {"ltr": LETTER, "spm": PIECE, "phn": NONE}


def joining_of(own: Sequence[str], labels: str | None, post_process: str | None = None) -> str:
    """How a dictionary's `own` symbols are joined into words, by the ending of their `labels`.

    Phones (`phn`) never are, whatever the dictionary holds, nor are labels of an unknown ending
    whose model was trained with `post_process: none`. Others are joined by the mark that the
    dictionary has; of two, letters (`ltr`) by `|` and pieces (`spm`) by U+2581.
    """
    of_labels = _OF_LABELS.get(labels or "", NONE if post_process == NONE else LETTER)
    marked = {
        LETTER: MARKS[LETTER] in own,
        PIECE: any(symbol.startswith(MARKS[PIECE]) for symbol in own),
        NONE: True,
    }
    return next(joining for joining in (of_labels, LETTER, PIECE, NONE) if marked[joining])


def plain_dictionary(dictionary: Any) -> dict[str, list[Any]]:
    """A fairseq Dictionary as lists, without its four special symbols."""
    return {
        "symbols": list(dictionary.symbols[len(SPECIAL_SYMBOLS) :]),
        "counts": [int(count) for count in dictionary.count[len(SPECIAL_SYMBOLS) :]],
    }


def dictionary_from(lists: Mapping[str, list[Any]]) -> Any:
    """Undo `plain_dictionary`."""
    from fairseq.data import Dictionary

    dictionary = Dictionary()
    for symbol, count in zip(lists["symbols"], lists["counts"]):
        # A symbol may be a duplicate: fairseq then numbers it twice (`#fairseq:overwrite`).
        dictionary.add_symbol(symbol, n=count, overwrite=True)
    return dictionary


def symbols_digest(symbols: Sequence[str]) -> str:
    """The SHA-256 of a dictionary's own symbols in their order."""
    return hashlib.sha256("\n".join(symbols).encode()).hexdigest()


def dictionary_file(
    state: Mapping[str, Any], path: PathLike, labels: str, data: PathLike, *, given: bool = False
) -> Path:
    """The text file with the dictionary of a checkpoint that holds none.

    One next to the checkpoint `path` (whose content is `state`) comes before that of `data`, the
    folder that it was trained on, or one that was `given` in its place. UserError where there is
    none, it is damaged, not what the checkpoint was exported with, or nothing says which of two is.
    """
    own = Path(path).parent / f"dict.{labels}.txt"
    of_data = Path(data, own.name)
    file = own if own.is_file() else of_data
    if not file.is_file():
        raise UserError(
            f"{path} holds no dictionary and {file} does not exist; put the dictionary that the "
            "model was trained with there"
        )
    symbols = read_dictionary(file)
    extra = state.get("extra_state")
    digest = extra.get(DIGEST_KEY) if isinstance(extra, Mapping) else None
    if digest is not None:
        if digest != symbols_digest(symbols):
            raise UserError(
                f"{file} is not the dictionary that {path} was exported with (other symbols, or "
                "another order); put that one in its place, or export the model again"
            )
    elif given and file is own and of_data.is_file():
        others = read_dictionary(of_data)
        if len(others) == len(symbols) and others != symbols:
            raise UserError(
                f"{own} and {of_data} number the symbols differently, and {path} does not say "
                "which is its own; move the wrong one away"
            )
    return file


def load_dictionary(path: PathLike) -> Any:
    """Read a dictionary's text file into fairseq's Dictionary; errors are `read_dictionary`'s."""
    from fairseq.data import Dictionary

    read_dictionary(path)
    return Dictionary.load(str(path))


def read_dictionary(path: PathLike) -> list[str]:
    """Symbols of a fairseq dictionary (`symbol count` a line), in the file's order.

    Raises UserError naming file and row for a missing file, a malformed row or a duplicate symbol.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(
            f"{path}: no dictionary there; put the file next to the manifest or check labels"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text; build the dictionary again") from error
    if text.startswith("\ufeff"):
        raise UserError(f"{path} begins with a byte order mark (U+FEFF); save it as UTF-8 without")
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
        if symbol.strip() and symbol != symbol.strip():
            says = f"row {row}: expected one space between symbol and count, found {line!r}"
            raise UserError(f"{path} {says}")
        if symbol in known and not overwrite:
            raise UserError(f"{path} row {row}: the symbol {symbol!r} is a duplicate")
        known.add(symbol)
        symbols.append(symbol)
    if not symbols:
        raise UserError(f"{path} is empty; build the dictionary again")
    return symbols


@dataclass(frozen=True)
class Word:
    """A word, or a phone, and when it is said: from `start` up to, without, `end`."""

    text: str
    start: float
    end: float


@dataclass(frozen=True)
class Symbols:
    """The rows of a CTC head."""

    names: tuple[str, ...]  # a symbol a row
    blank: int  # the row of CTC's blank
    silent: frozenset[int]  # rows that are never written
    joining: str  # how symbols are joined into words; `none` for phones
    padding: int = _PAD  # the row that fills up label rows of a batch

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
