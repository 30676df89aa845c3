"""Dictionaries that number the head's symbols: fairseq's object, plain lists, and its text file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parp_fairseq.errors import UserError
from parp_fairseq.files import PathLike

SYMBOLS_KEY = "parp_symbols"
"""Where the task `parp` keeps its dictionary in `task_state`, as plain lists."""

# What fairseq puts before every dictionary's own symbols.
SPECIAL_SYMBOLS = ("<s>", "<pad>", "</s>", "<unk>")


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
        # A symbol may stand there twice: fairseq then counts it twice (`#fairseq:overwrite`).
        dictionary.add_symbol(symbol, n=count, overwrite=True)
    return dictionary


def saved_dictionary(state: Mapping[str, Any]) -> Any:
    """The Dictionary that fairseq's task or the task `parp` saved; None where there is none.

    Args:
        state: what `load_checkpoint` returned.
    """
    saved = state.get("task_state") or {}
    if saved.get("target_dictionary") is None and SYMBOLS_KEY in saved:
        return dictionary_from(saved[SYMBOLS_KEY])
    return saved.get("target_dictionary")


def load_dictionary(path: PathLike) -> Any:
    """Read a dictionary's text file into fairseq's Dictionary; errors are `read_dictionary`'s."""
    from fairseq.data import Dictionary

    read_dictionary(path)
    return Dictionary.load(str(path))


def read_dictionary(path: PathLike) -> list[str]:
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
