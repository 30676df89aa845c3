"""Texts into the labels of a model's units: letters or phones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from parp_fairseq.checkpoints.dictionary import SPECIAL_SYMBOLS
from parp_fairseq.errors import UserError
from parp_fairseq.files import write_lines
from parp_fairseq.manifests.split_names import is_training

NAMES = ("letters", "phones")
WORD_BOUNDARY = "|"

_COUNTS = (
    "94802 51860 38431 33152 31495 28855 28794 27187 26071 23546 18289 16308 12400 10685 10317 "
    "9844 9062 8924 8226 6890 6339 3936 3456 1023 636 598 437 213"
)
ENGLISH_LETTERS = tuple(zip("|ETAONIHSRDLUMWCFGYPBVK'XJQZ", map(int, _COUNTS.split())))
"""Symbol and count of the dictionary that fairseq's published wav2vec 2.0 models use. Its order
decides the rows of the CTC head, so it must not change."""

_LETTER = re.compile(r"[^\W\d_\u02b0-\u036f]")
_LONGEST, _MOST_LONG = 3, 0.1
"""A phone has so many letters at most, marks aside; more than that share of others are words."""

# What English transcripts may hold: the letters and the space between words.
ENGLISH_CHARACTERS = {symbol for symbol, _ in ENGLISH_LETTERS} - {WORD_BOUNDARY} | {" "}


def to_letters(text: str) -> str:
    """`"HELLO WORLD"` → `"H E L L O | W O R L D |"`, as fairseq's libri_labels.py writes."""
    return " ".join(text.replace(" ", WORD_BOUNDARY)) + f" {WORD_BOUNDARY}"


def dictionary_lines(counts: Mapping[str, int]) -> list[str]:
    """`symbol count` lines in the order of fairseq's Dictionary: by count, ties by symbol."""
    return [f"{s} {n}" for s, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def dictionary_endings(folder: Path) -> list[str]:
    """Endings of the labels that have a `dict.{ending}.txt` in `folder`, sorted."""
    return sorted(path.name[len("dict.") : -len(".txt")] for path in folder.glob("dict.?*.txt"))


class Units:
    """What a model writes. As it stands: letters, `|` after each word.

    Attributes:
        ending: of the label files.
        post_process: what fairseq's criterion calls it.
        of_words: labels are made from words; else a corpus gives them.
    """

    ending = "ltr"
    post_process = "letter"
    of_words = True

    def objection(self, text: str) -> str:
        """Why a text cannot be labelled, such as a symbol that is kept; empty where it can."""
        if WORD_BOUNDARY in text:
            return f"the text holds {WORD_BOUNDARY!r}, which marks the ends of words; take it out"
        return ""

    def labels(self, texts: Sequence[str]) -> Iterator[str]:
        """A line of symbols with spaces between for each text, to none of which is an objection.

        Raises UserError for a text that has no symbol.
        """
        return map(to_letters, texts)

    def warnings(self) -> list[str]:
        """What to look at in the labels that were made, a line each."""
        return []

    def dictionary(self, trained: Counter[str], others: Counter[str]) -> list[str]:
        """`symbol count` lines, given the counts in the training splits and in the others.

        A symbol that training lacks comes last, with count 0, so that references stay whole.
        """
        return dictionary_lines({**dict.fromkeys(others, 0), **trained})


class EnglishLetters(Units):
    """The letters, and the fixed dictionary, of fairseq's published models."""

    def objection(self, text: str) -> str:
        for character in text:
            if character not in ENGLISH_CHARACTERS:
                return (
                    f"the character {character!r} is not in the letter dictionary, which holds "
                    "capitals from A to Z and '; rewrite the text"
                )
        return ""

    def dictionary(self, trained: Counter[str], others: Counter[str]) -> list[str]:
        return [f"{symbol} {count}" for symbol, count in ENGLISH_LETTERS]


class Symbols(Units):
    """Symbols that a corpus gives, such as phones, with spaces between.

    Args:
        known: more that the dictionary holds.
        ending: of the label files; `ltr` are letters that were labelled before.
    """

    post_process = "none"
    of_words = False

    def __init__(self, known: Iterable[str] = (), ending: str = "phn") -> None:
        self._known, self.ending = known, ending
        self._counts: Counter[str] = Counter()
        if ending == Units.ending:
            self.post_process = Units.post_process

    def objection(self, text: str) -> str:
        for symbol in text.split():
            if symbol in SPECIAL_SYMBOLS:
                return f"the symbol {symbol!r} is fairseq's own; write another"
        return ""

    def labels(self, texts: Sequence[str]) -> Iterator[str]:
        self._counts.update(symbol for text in texts for symbol in text.split())
        return iter(texts)

    def warnings(self) -> list[str]:
        """Whether symbols are as long as words, or joined by marks."""
        long = [symbol for symbol in self._counts if len(_LETTER.findall(symbol)) > _LONGEST]
        share = sum(self._counts[symbol] for symbol in long) / max(1, sum(self._counts.values()))
        if share <= _MOST_LONG:
            return []
        says = f"{share:.0%} of the symbols have more than {_LONGEST} letters, such as"
        return [f"{says} {long[0]!r}: put spaces between phones, or give --lang for words"]

    def dictionary(self, trained: Counter[str], others: Counter[str]) -> list[str]:
        return super().dictionary(trained, Counter((*self._known, *others)))


class Phones(Units):
    """espeak-ng's phones of a language, by its code (en, nl, zh-TW…)."""

    ending = "phn"
    post_process = "none"

    def __init__(self, lang: str) -> None:
        from parp_fairseq.manifests.labels.phones import Phonemizer

        self._phonemizer = Phonemizer(lang)

    def objection(self, text: str) -> str:
        return self._phonemizer.objection(text)

    def warnings(self) -> list[str]:
        return self._phonemizer.warnings()

    def labels(self, texts: Sequence[str]) -> Iterator[str]:
        for text, phones in zip(texts, self._phonemizer(texts)):
            if not phones:
                raise UserError(f"espeak-ng says nothing for the text {text[:60]!r}; remove it")
            yield phones


def make_units(units: str, *, lang: str | None = None, english: bool = False) -> Units:
    """Units by their name in `NAMES`.

    Args:
        units: letters or phones.
        lang: language of phones; without it the texts are phones already.
        english: letters are those of fairseq's dictionary.

    Raises:
        UserError: no such units, a language of letters, or one that espeak-ng does not speak.
    """
    if units not in NAMES:
        raise UserError(f"no units {units!r}; choose from {', '.join(NAMES)}")
    if units == "phones":
        return Symbols() if lang is None else Phones(lang)
    if lang is not None:
        raise UserError(f"--lang goes with --units phones, not {units}")
    return EnglishLetters() if english else Units()


def write_labels(
    folder: Path, texts: dict[str, Sequence[str]], units: Units
) -> dict[str, list[str]]:
    """Write each split's labels and the dictionary; return the labels.

    `texts` are each split's words, or its symbols where the units are not `of_words`.
    """
    trained: Counter[str] = Counter()
    others: Counter[str] = Counter()
    labels = {split: list(units.labels(lines)) for split, lines in texts.items()}
    for split, lines in labels.items():
        counts = trained if is_training(split) else others
        for line in lines:
            counts.update(line.split())
        write_lines(folder / f"{split}.{units.ending}", lines)
    write_lines(folder / f"dict.{units.ending}.txt", units.dictionary(trained, others))
    return labels
