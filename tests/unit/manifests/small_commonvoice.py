"""Writes small Common Voice releases and published splits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

COLUMNS = ["client_id", "path", "sentence", "up_votes", "down_votes", "age", "gender", "accents"]
COLUMNS += ["variant", "locale", "segment"]
SENTENCES = {
    "nl": ["Ik vind dat een dubieuze procedure.", "Het regent al dagen.", "Waar is de fiets?"],
    "ru": ["Привет, как дела?", "Сегодня хорошая погода.", "Где мой велосипед?"],
    "zh-TW": ["我們今天去臺北吃飯。", "你好嗎？", "這本書很有意思。"],  # noqa: RUF001
}


def write_mp3(path: Path, seconds: float, *, rate: int = 48_000, pitch: float = 300.0) -> None:
    """A tone with a little noise, told apart by pitch."""
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(int(pitch)).normal(0, 0.01, len(time))
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * pitch * time) + noise, rate, format="MP3")


def rows_of(lang: str, part: str, speakers: int, clips: int) -> list[tuple[str, str, str]]:
    """(speaker, clip id, sentence) of so many speakers with so many clips each, ids falling.

    No two parts hold the same sentence: a number ends each.
    """
    sentences = SENTENCES[lang]
    number = 1 + ("train", "dev", "test", "extra").index(part)
    return [
        (
            f"{part}-{speaker}",
            f"common_voice_{lang}_{part}{speaker}{clip}",
            f"{sentences[(speaker + clip) % len(sentences)]} {number}{speaker}{clip}",
        )
        for speaker in reversed(range(speakers))
        for clip in range(clips)
    ]


def write_table(path: Path, lang: str, rows: Sequence[tuple[str, str, str]]) -> None:
    """A table of a release, as Common Voice writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(COLUMNS)]
    for speaker, name, sentence in rows:
        cells = [speaker, f"{name}.mp3", sentence, "2", "0", "", "", "", "", lang, ""]
        lines.append("\t".join(cells))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_release(
    folder: Path, lang: str, tables: Mapping[str, Sequence[tuple[str, str, str]]]
) -> Path:
    """`folder`/`lang` with the tables and a clip of each row; returns it."""
    place = folder / lang
    for name, rows in tables.items():
        write_table(place / f"{name}.tsv", lang, rows)
    names = sorted({name for rows in tables.values() for _, name, _ in rows})
    for index, name in enumerate(names):
        write_mp3(place / "clips" / f"{name}.mp3", 2.4 + 0.1 * (index % 3), pitch=200 + 10 * index)
    return place


def write_published(
    folder: Path,
    name: str,
    phones: Mapping[str, Sequence[int]],
    inventory: Mapping[str, int],
    lists: Mapping[str, Sequence[str]],
) -> Path:
    """A language of the published splits, with the spaces at line ends that they have."""
    place = folder / name
    place.mkdir(parents=True)
    rows = "".join(f"{clip} {' '.join(map(str, ints))} \n" for clip, ints in phones.items())
    (place / "validated_phones_reduced.txt").write_text(rows, encoding="utf-8")
    (place / "phonesMatches_reduced.json").write_text(json.dumps(inventory), encoding="utf-8")
    for key, clips in lists.items():
        text = "".join(f"{clip}\n" for clip in clips)
        (place / f"{key}_uniform_new_version.txt").write_text(text, encoding="utf-8")
    return place
