"""The symbols of a Wav2Vec2ForCTC's head, in the order of a fairseq dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parp_fairseq.checkpoints.strict_json import read_object
from parp_fairseq.errors import UserError

VOCABULARY_FILE = "vocab.json"
TOKENS_FILE, SPECIAL_FILE = "tokenizer_config.json", "special_tokens_map.json"
_ADDED_FILE = "added_tokens.json"
# In the places of fairseq's special symbols, after the blank; and transformers' defaults.
_SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
_PIECE = "\u2581"


def read_symbols(
    folder: Path, config: Mapping[str, Any], rows: int
) -> tuple[list[str], list[int | None], str]:
    """Read the vocabulary of a folder of `transformers` whose head has so many rows.

    Returns:
        The dictionary's own symbols, its four special ones left out; for each symbol, special ones
        first, its row in transformers' head (None where it has none); the ending of label files of
        such symbols.

    Raises:
        UserError: a file is missing or damaged, or does not name the head's rows, each once.
    """
    about = _json(folder / TOKENS_FILE)
    special = {**_json(folder / SPECIAL_FILE), **about}
    names = _names(folder, about, rows)
    blank = config.get("pad_token_id", 0)
    if type(blank) is not int or not 0 <= blank < rows:
        raise UserError(
            f"{folder}: its pad_token_id, the CTC blank, is {str(blank)[:40]}, and its head has "
            f"{rows} rows; set it in config.json"
        )
    first: list[int | None] = [blank]
    for key, default in _SPECIAL.items():
        token = _content(special.get(key, default))
        row = names.index(token) if token in names else None
        first.append(None if row in first else row)
    others = [row for row in range(rows) if row not in first]
    delimiter = _content(about.get("word_delimiter_token", "|"))
    lower = about.get("do_lower_case") is True
    own = []
    for row in others:
        name = names[row].lower() if lower else names[row]
        if delimiter == " ":
            name = name.replace(" ", _PIECE)
        elif delimiter and names[row] == delimiter:
            name = "|"
        own.append(name)
    phones = about.get("tokenizer_class") == "Wav2Vec2PhonemeCTCTokenizer"
    labels = "phn" if phones else "spm" if delimiter == " " else "ltr"
    return own, [*first, *others], labels


def _names(folder: Path, about: Mapping[str, Any], rows: int) -> list[str]:
    """A symbol for each row."""
    file = folder / VOCABULARY_FILE
    added = about.get("added_tokens_decoder")
    numbered = {**_json(file), **_json(folder / _ADDED_FILE)}
    names: dict[int, str] = {}
    for symbol, row in numbered.items():
        if type(row) is not int or row < 0 or not symbol:
            raise UserError(
                f"{file}: {symbol[:40]!r} has the number {str(row)[:40]}, which is no row of a "
                "head; give a model of one language"
            )
        if names.setdefault(row, symbol) != symbol:
            raise UserError(f"{file}: {symbol[:40]!r} and {names[row][:40]!r} share the row {row}")
    for row, token in (added if isinstance(added, dict) else {}).items():
        if str(row).isdigit() and _content(token):
            names.setdefault(int(row), _content(token))
    missing = [row for row in range(rows) if row not in names]
    if missing:
        raise UserError(
            f"{file} names no symbol for row {missing[0]} of a head of {rows}; save the tokenizer "
            "that the model was trained with"
        )
    return [names[row] for row in range(rows)]


def _content(token: Any) -> str:
    """A token's text; transformers saves some as objects."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else ""


def _json(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}
