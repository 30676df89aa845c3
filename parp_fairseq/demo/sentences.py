"""Seeded sentences over small lists of words: English with some grammar, ten others without."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from parp_fairseq.errors import UserError

if TYPE_CHECKING:
    import numpy as np

WORDS_FILE = Path(__file__).with_name("words.txt")

_SUBJECT = ("determiner noun", "determiner adjective noun", "number adjective plural")
_OBJECT = ("determiner noun", "determiner adjective noun", "number plural")
_PLACE = ("place determiner noun", "place determiner adjective noun")
_TAIL = ("", "", "time", "'and' went", "'and' verb determiner noun")

LANGUAGES: Mapping[str, str] = {
    **{code: code for code in ("es", "fr", "it", "ky", "nl", "ru")},
    **{"sv-SE": "sv", "tr": "tr", "tt": "tt", "zh-TW": "cmn"},
}
"""Common Voice's code → espeak-ng's file of the language; English is not among them."""

_FEWEST, _MOST = 5, 9


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


def check_language(language: str) -> None:
    """Raise UserError for a language that has no words here."""
    if language not in LANGUAGES:
        raise UserError(f"there are no words of {language!r} here; use {', '.join(LANGUAGES)}")


def words_file(language: str) -> Path:
    """The words of a language. Raises UserError where there are none."""
    check_language(language)
    return Path(__file__).with_name("words") / f"{language}.txt"


@cache
def words_of(language: str) -> tuple[str, ...]:
    """A language's words in the file's order. Raises UserError where there are none."""
    lines = words_file(language).read_text(encoding="utf-8").splitlines()
    return tuple(word for line in lines if not line.startswith("#") for word in line.split())


def phrase(rng: np.random.Generator, language: str) -> str:
    """Five to nine words of a language in a drawn order: no grammar, and none is learnt."""
    words = words_of(language)
    count = int(rng.integers(_FEWEST, _MOST + 1))
    return " ".join(words[int(index)] for index in rng.integers(len(words), size=count))
