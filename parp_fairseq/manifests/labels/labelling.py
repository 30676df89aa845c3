"""Texts into the labels of a model's units: letters, phones or pieces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from parp_fairseq.checkpoints.dictionary import SPECIAL_SYMBOLS
from parp_fairseq.errors import UserError
from parp_fairseq.files import write_lines
from parp_fairseq.manifests.labels.units import (
    ENGLISH_CHARACTERS,
    ENGLISH_LETTERS,
    WORD_BOUNDARY,
    dictionary_lines,
    to_letters,
)
from parp_fairseq.manifests.splits import is_training
from parp_fairseq.manifests.tsv import stream_lines

NAMES = ("letters", "phones", "spm")


class Letters:
    """The letters of the texts as they stand, `|` after each word."""

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


class Symbols(Letters):
    """Texts that are symbols already, such as phones, with spaces between."""

    ending = "phn"
    post_process = "none"

    def objection(self, text: str) -> str:
        """A symbol that fairseq keeps for itself."""
        for symbol in text.split():
            if symbol in SPECIAL_SYMBOLS:
                return f"the symbol {symbol!r} is fairseq's own; write another"
        return ""

    def labels(self, texts: Iterable[str]) -> Iterator[str]:
        """As `Letters.labels`."""
        return iter(texts)


class Phones(Letters):
    """espeak-ng's phones of a language, by its code (en, nl, zh-TW…)."""

    ending = "phn"
    post_process = "none"

    def __init__(self, lang: str) -> None:
        from parp_fairseq.manifests.labels.phones import Phonemizer

        self._phonemizer = Phonemizer(lang)

    def objection(self, text: str) -> str:
        """None: what espeak-ng does not say is found when it speaks."""
        return ""

    def labels(self, texts: Iterable[str]) -> Iterator[str]:
        """As `Letters.labels`."""
        texts = list(texts)
        for text, phones in zip(texts, self._phonemizer(texts)):
            if not phones:
                shown = text if len(text) <= 60 else f"{text[:60]}…"
                raise UserError(f"espeak-ng says nothing for the text {shown!r}; remove it")
            yield phones


Units = Letters
"""What units can do."""


def make_units(
    name: str, *, vocab_size: int | None = None, lang: str | None = None, english: bool = False
) -> Units:
    """Units by their name in `NAMES`.

    Args:
        name: letters, phones or spm.
        vocab_size: of spm, and of it alone.
        lang: language of phones; without it the texts are phones already.
        english: letters are those of fairseq's dictionary.

    Raises:
        UserError: no such units, an option that they lack or do not have, espeak-ng does not
            speak the language.
    """
    if name not in NAMES:
        raise UserError(f"no units {name!r}; choose from {', '.join(NAMES)}")
    if (name == "spm") != (vocab_size is not None):
        raise UserError(
            "--units spm needs --vocab-size, such as 100 for ten minutes or 1000 for ten hours"
            if name == "spm"
            else f"--vocab-size goes with --units spm, not {name}"
        )
    if lang is not None and name != "phones":
        raise UserError(f"--lang goes with --units phones, not {name}")
    if name == "phones":
        return Symbols() if lang is None else Phones(lang)
    if name == "spm":
        from parp_fairseq.manifests.labels.pieces import Pieces

        return Pieces(vocab_size)
    return EnglishLetters() if english else Letters()


def write_labels(folder: Path, splits: Sequence[str], units: Units) -> None:
    """Write each split's labels from its `.wrd`, the dictionary, and what the units need."""
    training = [split for split in splits if is_training(split)]
    units.prepare([folder / f"{split}.wrd" for split in training])
    trained: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for split in splits:
        counts = trained if split in training else others
        lines = units.labels(stream_lines(folder / f"{split}.wrd"))
        write_lines(folder / f"{split}.{units.ending}", _counted(lines, counts))
    write_lines(folder / f"dict.{units.ending}.txt", units.dictionary(trained, others))
    units.save(folder)


def _counted(lines: Iterable[str], counts: Counter[str]) -> Iterator[str]:
    for line in lines:
        counts.update(line.split())
        yield line
