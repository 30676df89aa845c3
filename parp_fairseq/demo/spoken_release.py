"""Small speech of a language in the folder layout of a Common Voice release."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from parp_fairseq.demo.sentences import LANGUAGES, check_language, phrase, words_file
from parp_fairseq.demo.spoken_corpus import Spoken, check_numbers, write_corpus
from parp_fairseq.demo.voices import draw_speakers
from parp_fairseq.errors import UserError
from parp_fairseq.files import write_lines

SPLITS = ("train", "dev", "test")
UTTERANCES: Mapping[str, int] = {"train": 960, "dev": 96, "test": 144}
"""About 2.5 seconds each: 40, 4 and 6 minutes."""

_FORMAT = 1
_COLUMNS = ("client_id", "path", "sentence", "up_votes", "down_votes", "locale")


def synthesise_release(
    release: Path,
    language: str,
    *,
    seed: int = 1,
    utterances: Mapping[str, int] | None = None,
    per_speaker: int = 4,
    jobs: int = 1,
) -> Path:
    """Write synthetic speech under `release/language`, a function of everything but `jobs`.

    MP3 clips, 16 kHz mono, in `clips/`, and the tables `train.tsv`, `dev.tsv`, `test.tsv` and, of
    all of them, `validated.tsv`. No speaker is in two of train, dev and test; voices come again
    with another pitch and speed after 47 speakers. A finished release of the same settings is
    left as it is.

    Args:
        release: a folder, made here; several languages go into one.
        language: one of `sentences.LANGUAGES`.
        seed: any integer at least 0.
        utterances: split → number of utterances (`UTTERANCES`; about 2.5 seconds each).
        per_speaker: utterances of a speaker, at least 1.
        jobs: speakers at a time.

    Returns:
        The language's folder.

    Raises:
        UserError: an unknown language or split, a count below 1, no espeak-ng, a libsndfile that
            cannot write MP3, or the folder holding something else.
    """
    check_language(language)
    counts = {**(UTTERANCES if utterances is None else utterances)}
    if set(counts) != set(SPLITS):
        raise UserError(f"utterances are of {', '.join(counts)}, expected {', '.join(SPLITS)}")
    check_numbers(seed, per_speaker=per_speaker, jobs=jobs, **counts)
    settings = {
        "format": _FORMAT,
        "language": language,
        "seed": seed,
        "per_speaker": per_speaker,
        "utterances": counts,
        "words_crc32": zlib.crc32(words_file(language).read_bytes()),
    }
    parts = dict(_plan(language, seed, counts, per_speaker))
    _check_mp3()

    def write_tables(folder: Path) -> None:
        rows: dict[str, list[str]] = {split: [] for split in SPLITS}
        for (split, client), part in parts.items():
            for file, text in zip(part.files, part.texts):
                row = (client, Path(file).name, text, "2", "0", language)
                rows[split].append("\t".join(row))
        tables = {**rows, "validated": [row for split in SPLITS for row in rows[split]]}
        for name, lines in tables.items():
            write_lines(folder / f"{name}.tsv", ["\t".join(_COLUMNS), *lines])

    out = Path(release) / language
    write_corpus(out, settings, parts.values(), jobs, write_tables)
    return out


def _plan(
    language: str, seed: int, utterances: Mapping[str, int], per_speaker: int
) -> Iterator[tuple[tuple[str, str], Spoken]]:
    """(split, client_id) and what the speaker says."""
    import numpy as np

    key = zlib.crc32(language.encode())
    wanted = sum(-(-count // per_speaker) for count in utterances.values())
    first_rng = np.random.default_rng([seed, key, 0])
    speakers = iter(draw_speakers(first_rng, wanted, 0, near=(LANGUAGES[language],))[0])
    number = 0
    for split in SPLITS:
        rng = np.random.default_rng([seed, key, zlib.crc32(split.encode())])
        for first in range(0, utterances[split], per_speaker):
            count = min(per_speaker, utterances[split] - first)
            clips = [
                f"common_voice_{language}_{place:08d}" for place in range(number, number + count)
            ]
            number += count
            client = hashlib.sha256(f"{language} {seed} {clips[0]}".encode()).hexdigest()
            files = tuple(f"clips/{clip}.mp3" for clip in clips)
            texts = tuple(phrase(rng, language) for _ in clips)
            yield (split, client), Spoken(next(speakers), files, texts)


def _check_mp3() -> None:
    import soundfile

    if "MP3" not in soundfile.available_formats():
        raise UserError(
            f"libsndfile {soundfile.__libsndfile_version__} writes no MP3, which Common Voice's "
            "clips are; pip install -U soundfile brings one that does"
        )
