"""speechocean762: English sentences read by 250 speakers of Mandarin (Zhang et al. 2021).

The expected tree, a clone of the corpus' repository::

    speechocean762/{train,test}/{wav.scp,text,utt2spk}
    speechocean762/resource/text-phone
    speechocean762/WAVE/SPEAKER<speaker>/<utterance>.WAV

It has no validation split: some speakers of `train` are drawn for that. Phones are the
dictionary's for each word of the text, as the corpus lists them, without stress and place in the
word; how a speaker said them is in its scores, which are not read.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from parp_fairseq.errors import UserError
from parp_fairseq.manifests.corpora.corpus import Corpus
from parp_fairseq.manifests.pipeline import Utterance
from parp_fairseq.manifests.table_reader import Transcript, read_transcripts

TREE = (
    "speechocean762/ with {train,test}/{wav.scp,text,utt2spk}, resource/text-phone and WAVE/; "
    "clone the corpus again"
)
SPLITS = ("train", "test")
PHONES = Path("resource", "text-phone")

# AH0_B: the phone, its stress, and where in the word it stands.
_PHONE = re.compile(r"([A-Z]+)[0-2]?(?:_[BIES])?")


def read(root: Path, units: str) -> Iterator[Utterance]:
    """Read the utterances of both splits. Raises UserError naming file and row."""
    phones = _read_phones(root / PHONES) if units == "phones" else {}
    for split in SPLITS:
        folder = root / split
        texts, audio, speakers = (
            read_transcripts(folder / name) for name in ("text", "wav.scp", "utt2spk")
        )
        for name, text in texts.items():
            where = f"{folder / 'text'} row {text.row}"
            for file, table in (("wav.scp", audio), ("utt2spk", speakers)):
                if name not in table:
                    raise UserError(f"{where}: {name} is not in {folder / file}; expected {TREE}")
            symbols = _phones_of(name, text, phones, where) if phones else ""
            path = str(root / audio[name].text)
            yield Utterance(where, path, text.text, split, speakers[name].text, symbols)


def _read_phones(path: Path) -> Mapping[str, Mapping[int, str]]:
    """Utterance → number of a word, from 0 → its phones."""
    phones: dict[str, dict[int, str]] = defaultdict(dict)
    for key, entry in read_transcripts(path).items():
        name, _, number = key.partition(".")
        symbols = [_PHONE.fullmatch(symbol) for symbol in entry.text.split()]
        if not number.isdigit() or not all(symbols):
            raise UserError(
                f"{path} row {entry.row}: expected ID.WORD and phones, found {key} {entry.text}"
            )
        phones[name][int(number)] = " ".join(symbol[1] for symbol in symbols)
    return phones


def _phones_of(
    name: str, text: Transcript, phones: Mapping[str, Mapping[int, str]], where: str
) -> str:
    words = phones.get(name, {})
    count = len(text.text.split())
    if sorted(words) != list(range(count)):
        raise UserError(
            f"{where}: {name} has {count} words, and {PHONES} has phones of {len(words)}"
        )
    return " ".join(words[number] for number in range(count))


CORPUS = Corpus(
    "speechocean762",
    "speechocean762",
    (*SPLITS, "WAVE"),
    TREE,
    read,
    units=("letters", "phones"),
    english=True,
)
