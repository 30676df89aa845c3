"""Languages beside English that the small world speaks, by the codes of Common Voice."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from parp_fairseq.errors import UserError

if TYPE_CHECKING:
    import numpy as np

LANGUAGES: Mapping[str, str] = {
    "es": "es",
    "fr": "fr",
    "it": "it",
    "ky": "ky",
    "nl": "nl",
    "ru": "ru",
    "sv-SE": "sv",
    "tr": "tr",
    "tt": "tt",
    "zh-TW": "cmn",
}
"""Code → espeak-ng's file of the language."""

_FEWEST, _MOST = 5, 9


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
