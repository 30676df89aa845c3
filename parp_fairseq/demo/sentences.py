"""Seeded English sentences over a small list of common words."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

WORDS_FILE = Path(__file__).with_name("words.txt")

_SUBJECT = ("determiner noun", "determiner adjective noun", "number adjective plural")
_OBJECT = ("determiner noun", "determiner adjective noun", "number plural")
_PLACE = ("place determiner noun", "place determiner adjective noun")
_TAIL = ("", "", "time", "'and' went", "'and' verb determiner noun")


@cache
def word_lists(path: Path = WORDS_FILE) -> dict[str, tuple[str, ...]]:
    """Words by kind (noun, verb, ...), in the file's order, lower case."""
    lists = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            kind, words = line.split(":")
            lists[kind] = tuple(words.split())
    return lists


def sentence(rng: np.random.Generator, words_file: Path = WORDS_FILE) -> str:
    """One sentence of 4 to 14 words in capitals without punctuation, as in LibriSpeech."""
    lists = word_lists(words_file)
    pattern = _pick(rng, _SUBJECT)
    if rng.random() < 0.6:
        pattern += " verb " + _pick(rng, _OBJECT)
        if rng.random() < 0.4:
            pattern += " " + _pick(rng, _PLACE)
    else:
        pattern += " went " + _pick(rng, _PLACE)
    pattern += " " + _pick(rng, _TAIL)
    return " ".join(_word(rng, slot, lists) for slot in pattern.split()).upper()


def _pick(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _word(rng: np.random.Generator, slot: str, lists: dict[str, tuple[str, ...]]) -> str:
    return slot.strip("'") if slot.startswith("'") else _pick(rng, lists[slot])
