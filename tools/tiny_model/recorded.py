"""Recorded speech for pre-training, from folders of audio files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from parp_fairseq.errors import UserError
from tiny_model.pretrain import SAMPLE_RATE, Speech

ENDINGS = (".wav", ".flac")


def recorded_speech(folders: Sequence[Path], seed: int) -> Speech:
    """Read every WAV and FLAC file below `folders`, 16 kHz and mono, in an order drawn by `seed`.

    The last files are held out by `pretrain` (`Settings.held_out` times `Settings.utterances`).

    Raises:
        UserError: a folder holds no audio, or a file is not 16 kHz mono.
    """
    files: list[Path] = []
    for folder in folders:
        recordings = [path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS]
        if not recordings:
            raise UserError(f"{folder}: no WAV or FLAC file below it")
        files += recordings
    files.sort()
    order = np.random.default_rng([seed, 7]).permutation(len(files))
    pieces = []
    for path in (files[number] for number in order):
        samples, rate = soundfile.read(path, dtype="int16")
        if rate != SAMPLE_RATE or samples.ndim != 1:
            raise UserError(f"{path} is not {SAMPLE_RATE} Hz mono; convert it first")
        pieces.append(samples)
    return Speech.joined(pieces)
