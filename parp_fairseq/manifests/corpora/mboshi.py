"""Mboshi, a Bantu language of Congo-Brazzaville (Godard et al. 2018).

The expected tree, a clone of the repository mboshi-french-parallel-corpus::

    full_corpus_newsplit/{train,dev}/<utterance>.wav
    full_corpus_newsplit/{train,dev}/<utterance>.mb.cleaned

The spelling is close to the sounds, with the two tones as accents. The units `phones` are its
letters without them, and without marks between words; `letters` are as they are.

The corpus has three speakers, in both splits. Sentences are said by several of them: where a
split is drawn, those of one text stay together.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.corpora.corpus import Corpus
from parp_fairseq.manifests.pipeline import Utterance
from parp_fairseq.manifests.tsv import read_lines

TREE = "full_corpus_newsplit/{train,dev}/ with .wav and .mb.cleaned files; clone the corpus again"
SPLITS = ("train", "dev")
TEXT = ".mb.cleaned"
AUDIO = ".wav"


def read(root: Path, units: str) -> Iterator[Utterance]:
    """Read the utterances of both splits. Raises UserError naming the file."""
    for split in SPLITS:
        folder = root / split
        audio = {path.name[: -len(AUDIO)]: path for path in folder.glob(f"*{AUDIO}")}
        texts = {path.name[: -len(TEXT)]: path for path in folder.glob(f"*{TEXT}")}
        if not audio:
            raise UserError(f"{folder} holds no {AUDIO} files; expected {TREE}")
        for name in sorted({*audio, *texts}):
            if name not in audio or name not in texts:
                missing = AUDIO if name not in audio else TEXT
                raise UserError(f"{folder / name}{missing} is missing; expected {TREE}")
            where = str(texts[name])
            words = unicodedata.normalize("NFC", " ".join(read_lines(where))).split()
            letters = toneless("".join(words))
            if not letters:
                raise UserError(f"{where} has no text; clone the corpus again")
            text = " ".join(words)
            symbols = " ".join(letters)
            yield Utterance(where, str(audio[name]), text, split, text, symbols)


def toneless(text: str) -> str:
    """Letters without the accents that mark tones: `ítsώ` → `itsω`."""
    letters = unicodedata.normalize("NFD", text)
    return "".join(letter for letter in letters if not unicodedata.combining(letter))


CORPUS = Corpus("mboshi", "full_corpus_newsplit", SPLITS, TREE, read, units=("phones", "letters"))
