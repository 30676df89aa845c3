"""Small speech of a language in the folder layout of a Common Voice release."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from parp_fairseq.demo.sentences import LANGUAGES, check_language, phrase, words_file
from parp_fairseq.demo.voices import SAMPLE_RATE, Speaker, draw_speakers, espeak_paths, speak
from parp_fairseq.demo.whole import check_numbers, make_whole
from parp_fairseq.errors import UserError
from parp_fairseq.files import write_lines

SPLITS = ("train", "dev", "test")
UTTERANCES: Mapping[str, int] = {"train": 960, "dev": 96, "test": 144}
"""About 2.5 seconds each: 40, 4 and 6 minutes."""

_FORMAT = 1
_COLUMNS = ("client_id", "path", "sentence", "up_votes", "down_votes", "locale")


@dataclass(frozen=True)
class _Client:
    split: str
    name: str
    speaker: Speaker
    clips: tuple[str, ...]
    texts: tuple[str, ...]


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
    with another pitch and speed after 47 speakers. What is there already with the same settings
    is left as it is.

    Args:
        release: a folder, made here; several languages go into one.
        language: one of `languages.LANGUAGES`.
        seed: any integer at least 0.
        utterances: split → number of utterances (`UTTERANCES`; about 2.5 seconds each).
        per_speaker: utterances of a speaker, at least 1.
        jobs: processes at a time.

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
    clients = list(_plan(language, seed, counts, per_speaker))

    def write(partial: Path) -> None:
        espeak_paths()
        _check_mp3()
        (partial / "clips").mkdir()
        with ThreadPoolExecutor(max_workers=jobs) as pool:
            for _ in pool.map(lambda client: _write_clips(partial / "clips", client), clients):
                pass
        for split in SPLITS:
            _write_table(
                partial / f"{split}.tsv", language, [c for c in clients if c.split == split]
            )
        _write_table(partial / "validated.tsv", language, clients)

    out = Path(release) / language
    make_whole(out, settings, write)
    return out


def _plan(
    language: str, seed: int, utterances: Mapping[str, int], per_speaker: int
) -> Iterator[_Client]:
    import numpy as np

    voice = LANGUAGES[language]
    key = zlib.crc32(language.encode())
    wanted = sum(-(-count // per_speaker) for count in utterances.values())
    drawn, _ = draw_speakers(np.random.default_rng([seed, key, 0]), wanted, 0, near=(voice,))
    speakers = iter(drawn)
    number = 0
    for split in SPLITS:
        rng = np.random.default_rng([seed, key, zlib.crc32(split.encode())])
        for first in range(0, utterances[split], per_speaker):
            count = min(per_speaker, utterances[split] - first)
            clips = tuple(
                f"common_voice_{language}_{place:08d}" for place in range(number, number + count)
            )
            number += count
            name = hashlib.sha256(f"{language} {seed} {clips[0]}".encode()).hexdigest()
            texts = tuple(phrase(rng, language) for _ in clips)
            yield _Client(split, name, next(speakers), clips, texts)


def _write_clips(folder: Path, client: _Client) -> None:
    import soundfile

    for name, samples in zip(client.clips, speak(client.speaker, client.texts)):
        soundfile.write(str(folder / f"{name}.mp3"), samples, SAMPLE_RATE, format="MP3")


def _write_table(path: Path, language: str, clients: Sequence[_Client]) -> None:
    rows = [
        "\t".join((client.name, f"{clip}.mp3", text, "2", "0", language))
        for client in clients
        for clip, text in zip(client.clips, client.texts)
    ]
    write_lines(path, ["\t".join(_COLUMNS), *rows])


def _check_mp3() -> None:
    import soundfile

    if "MP3" not in soundfile.available_formats():
        raise UserError(
            f"libsndfile {soundfile.__libsndfile_version__} writes no MP3, which Common Voice's "
            "clips are; pip install -U soundfile brings one that does"
        )
