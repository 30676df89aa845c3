"""Small English speech in the folder layout of Libri-light and LibriSpeech."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from pathlib import Path

from parp_fairseq.demo.sentences import WORDS_FILE, sentence
from parp_fairseq.demo.spoken_corpus import Spoken, check_numbers, write_corpus
from parp_fairseq.demo.voices import draw_speakers
from parp_fairseq.errors import UserError

_FORMAT = 1

# Utterances of about three seconds: not quite an hour to train on. The manifest builder asks for
# dev-other. Multiples of 8 for what is decoded: fairseq's infer may leave the rest of a batch out.
UTTERANCES: Mapping[str, int] = {
    **{f"1h/{fold}/clean": 200 for fold in range(6)},
    **{"dev-other": 8, "dev-clean": 96, "test-clean": 96},
}


def part_folder(part: str) -> Path:
    """The folder of a part such as `1h/0/clean`; raises UserError for an unknown one."""
    if re.fullmatch("(dev|test)-(clean|other)", part):
        return Path("LibriSpeech") / part
    if re.fullmatch("(1h/[0-5]|9h)/(clean|other)", part):
        return Path("librispeech_finetuning") / part
    raise UserError(
        f"unknown part {part!r}: use 1h/<0-5>/<clean|other>, 9h/<clean|other>, "
        "<dev|test>-<clean|other>"
    )


def synthesise_corpus(
    out: Path,
    *,
    seed: int = 1,
    utterances: Mapping[str, int] | None = None,
    per_speaker: int = 4,
    jobs: int = 1,
) -> None:
    """Write synthetic speech under `out`, a function of everything but `jobs`, byte by byte.

    FLAC files, 16 kHz mono, at `<part>/<speaker>/<chapter>/<speaker>-<chapter>-<utterance>.flac`
    with `<speaker>-<chapter>.trans.txt` next to them; the parts are those of Libri-light's
    `librispeech_finetuning` and of `LibriSpeech`. No speaker is in two of the training,
    development and test sets, nor in two parts of these. The "other" parts have far accents
    and noise. A finished corpus of the same settings is left as it is.

    Args:
        out: a folder, made here.
        seed: any integer at least 0.
        utterances: part -> number of utterances (`UTTERANCES`; about 3 seconds each).
        per_speaker: utterances of a speaker, at least 1.
        jobs: speakers at a time.

    Raises:
        UserError: an unknown part, a count below 1, no espeak-ng, or `out` holding something else.
    """
    out = Path(out)
    utterances = UTTERANCES if utterances is None else utterances
    settings = {
        "format": _FORMAT,
        "seed": seed,
        "per_speaker": per_speaker,
        "utterances": dict(utterances),
        "words_crc32": zlib.crc32(WORDS_FILE.read_bytes()),
    }
    check_numbers(seed, per_speaker=per_speaker, jobs=jobs, **utterances)
    chapters = _plan(seed, utterances, per_speaker)

    def write_texts(root: Path) -> None:
        for chapter in chapters:
            names = [Path(file).stem for file in chapter.files]
            file = root / chapter.files[0]
            text = "".join(f"{name} {said}\n" for name, said in zip(names, chapter.texts))
            name = f"{names[0].rpartition('-')[0]}.trans.txt"
            file.with_name(name).write_text(text, encoding="utf-8")

    write_corpus(out, settings, chapters, jobs, write_texts)


def _plan(seed: int, utterances: Mapping[str, int], per_speaker: int) -> list[Spoken]:
    import numpy as np

    speakers_of = {part: -(-count // per_speaker) for part, count in utterances.items()}
    wanted = {
        kind: sum(n for part, n in speakers_of.items() if part.endswith(kind))
        for kind in ("clean", "other")
    }
    drawn = draw_speakers(np.random.default_rng([seed, 0]), wanted["clean"], wanted["other"])
    pools = {"clean": iter(drawn[0]), "other": iter(drawn[1])}
    chapters = []
    number = 1000
    for part, count in utterances.items():
        rng = np.random.default_rng([seed, zlib.crc32(part.encode())])
        folder = part_folder(part)
        for first in range(0, count, per_speaker):
            number += 1
            chapter = 100_000 + int(rng.integers(50_000))
            texts = tuple(sentence(rng) for _ in range(min(per_speaker, count - first)))
            path = folder / str(number) / str(chapter) / f"{number}-{chapter}"
            files = tuple(f"{path}-{index:04d}.flac" for index in range(len(texts)))
            pool = pools[re.split("[-/]", part)[-1]]
            chapters.append(Spoken(next(pool), files, texts))
    return chapters
