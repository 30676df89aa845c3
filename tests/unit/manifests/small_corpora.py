"""Writes small corpora of noise in Libri-light's and LibriSpeech's layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

WORDS = ["IT'S", "A", "SMALL", "WORLD", "OF", "QUICK", "BROWN", "FOXES", "JUMPING"]


def write_audio(path: Path, frames: int, *, rate: int = 16_000, channels: int = 1) -> None:
    """Seeded noise; FLAC by the name's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.random.default_rng(frames).normal(0, 0.1, (frames, channels))
    soundfile.write(path, wave, rate)


def write_chapter(part: Path, speaker: int, chapter: int, utterances: int) -> None:
    """A chapter's audio, lengths drawn from its numbers, and its transcripts."""
    folder = part / str(speaker) / str(chapter)
    random = np.random.default_rng(speaker * 1000 + chapter)
    lines = []
    for number in range(utterances):
        name = f"{speaker}-{chapter}-{number:04d}"
        write_audio(folder / f"{name}.flac", int(random.integers(800, 4000)))
        lines.append(f"{name} {' '.join(random.choice(WORDS, random.integers(1, 6)))}")
    text = "\n".join(lines) + "\n"
    (folder / f"{speaker}-{chapter}.trans.txt").write_text(text, encoding="utf-8")
