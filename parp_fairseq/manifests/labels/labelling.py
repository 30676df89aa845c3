"""Texts into the labels of a model's units: letters, phones or pieces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from parp_fairseq.checkpoints.dictionary import SPECIAL_SYMBOLS
from parp_fairseq.errors import UserError
from parp_fairseq.files import write_lines
from parp_fairseq.manifests.labels.letters import EnglishLetters, Letters
from parp_fairseq.manifests.labels.pieces import Pieces
from parp_fairseq.manifests.splits import is_training
from parp_fairseq.manifests.tsv import stream_lines

NAMES = ("letters", "phones", "spm")


class Symbols(Letters):
    """Symbols that a corpus gives, such as phones, with spaces between."""

    source = "phn"
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
        return Pieces(vocab_size)
    return EnglishLetters() if english else Letters()


def write_labels(folder: Path, splits: Sequence[str], units: Units) -> None:
    """Write each split's labels, the dictionary, and what else the units need.

    They are made from the split's `.wrd`, or what else is the units' source.
    """
    training = [split for split in splits if is_training(split)]
    units.prepare([folder / f"{split}.{units.source}" for split in training])
    trained: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for split in splits:
        counts = trained if split in training else others
        lines = units.labels(stream_lines(folder / f"{split}.{units.source}"))
        write_lines(folder / f"{split}.{units.ending}", _counted(lines, counts))
    write_lines(folder / f"dict.{units.ending}.txt", units.dictionary(trained, others))
    units.save(folder)


def _counted(lines: Iterable[str], counts: Counter[str]) -> Iterator[str]:
    for line in lines:
        counts.update(line.split())
        yield line
